"""What a policy may ask of a backup, by hand: streams, limits, sizes, ages."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.end_to_end.stage import PASSPHRASE, Agent, World

pytestmark = pytest.mark.django_db(transaction=True)
REPOSITORY = Path(__file__).resolve().parents[2]


def strongroom(agent: Agent, *arguments: str | Path, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """The command as a process of its own, `data` on its standard input."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "STRONGROOM_AGENT_HOME": str(agent.home),
        "STRONGROOM_PASSPHRASE": PASSPHRASE,
    }
    return subprocess.run(
        [sys.executable, "-m", "agents", *map(str, arguments)],
        env=environment,
        input=data,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_standard_input_is_restored_equal(world: World, tmp_path: Path):
    agent = world.agent()
    data = random.Random(1).randbytes(6_000_001)
    done = strongroom(agent, "backup", "--stdin", "db/dump.sql", "--no-wait", "--json", data=data)
    assert done.returncode == 0, done
    assert agent.run("restore", "latest", "--target", tmp_path / "target").code == 0
    assert (tmp_path / "target/db/dump.sql").read_bytes() == data


def test_output_of_a_hook_is_restored_equal_and_half_of_it_is_not_published(world: World, tmp_path: Path):
    agent = world.agent()
    (tmp_path / "dump").write_bytes(random.Random(2).randbytes(2_000_000))
    configuration = agent.home / "agent.toml"
    configuration.write_text(
        f'[hooks.dump]\ncommand = ["/bin/cat", "{tmp_path}/dump"]\n'
        f'[hooks.broken]\ncommand = ["/bin/sh", "-c", "cat {tmp_path}/dump; exit 3"]\n'
    )
    configuration.chmod(0o600)
    assert agent.run("backup", "--stdin", "d", "--stdin-hook", "dump", "--no-wait").code == 0
    assert agent.run("restore", "latest", "--target", tmp_path / "target").code == 0
    assert (tmp_path / "target/d").read_bytes() == (tmp_path / "dump").read_bytes()
    said = agent.run("backup", "--stdin", "d", "--stdin-hook", "broken", "--no-wait")
    assert said.code == 1
    assert "exit code 3" in said.err
    assert len(agent.json("snapshots").records) == 2
    assert agent.run("backup", "--stdin", "d", "--stdin-hook", "/bin/cat", "--no-wait").code == 1


def test_upload_is_no_faster_than_asked(world: World, tmp_path: Path):
    agent = world.agent()
    (tmp_path / "file").write_bytes(random.Random(3).randbytes(600_000))
    began = time.monotonic()
    said = agent.json("backup", tmp_path / "file", "--no-wait", "--limit-upload", "1600")
    assert said.code == 0, said
    # 600 kB at 200 kB/s; a burst of a quarter of a second is free.
    assert time.monotonic() - began > 2.4


def test_machines_own_limit_counts_for_every_backup(world: World, tmp_path: Path):
    agent = world.agent()
    (agent.home / "agent.toml").write_text("[limits]\nkbit_per_second = 1600\n")
    (tmp_path / "file").write_bytes(random.Random(4).randbytes(600_000))
    began = time.monotonic()
    said = agent.json("backup", tmp_path / "file", "--no-wait", "--limit-upload", "100000", "--adaptive")
    assert said.code == 0, said
    assert time.monotonic() - began > 2.4


def test_sizes_are_understood(world: World, tmp_path: Path):
    agent = world.agent()
    for name, size in (("small", 1024), ("large", 2000)):
        (tmp_path / name).write_bytes(b"x" * size)
    said = agent.json("backup", tmp_path / "small", tmp_path / "large", "--max-size", "1K", "--no-wait")
    assert said.code == 0, said
    (tmp_path / "tree").mkdir()
    (tmp_path / "small").rename(tmp_path / "tree/small")
    (tmp_path / "large").rename(tmp_path / "tree/large")
    said = agent.json("backup", tmp_path / "tree", "--max-size", "1K", "--no-wait")
    assert said.summary["files"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--stdin", "x", "/etc"], "alone"),
        (["--stdin-hook", "x", "/etc"], "--stdin NAME"),
        (["--stdin", "../x"], "no name"),
        (["/etc", "--max-size", "many"], "no size"),
        (["/etc", "--limit-upload", "0"], "limit-upload"),
        (["/etc", "--chunker", "huge"], "huge"),
    ],
)
def test_wrong_usage_is_said(world: World, arguments: list[str], says: str):
    said = world.agent().run("backup", *arguments)
    assert said.code == 2
    assert says in said.err
