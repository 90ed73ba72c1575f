"""Real accidents against a real gateway: damage on its disk, its death in the middle, an agent that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agents.state import AgentHome
from agents.transport.io_loop import Channel
from protocol.wire import messages
from tests.agent.test_cli import REPOSITORY
from tests.end_to_end.stage import Agent, World
from tests.end_to_end.trees import describe
from tests.gateway.fixtures import RunningGateway

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve files of a megabyte, each a chunk or a few of its own."""
    top = tmp_path / "source"
    top.mkdir()
    chance = random.Random(11)
    for number in range(12):
        (top / f"file-{number:02}").write_bytes(chance.randbytes(1 << 20))
    return top


def restored(target: Path, source: Path) -> Path:
    return target / source.relative_to("/")


def test_damaged_pack_costs_the_files_in_it_and_is_code_20(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    agent.run("backup", source, "--no-wait")
    (pack,) = list(world.gateway.home.rglob("*.pack"))
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        file.write(b"damage on the disk")
    said = agent.json("restore", "latest", "--target", tmp_path / "target")
    assert said.code == 20, said
    assert said.summary["damaged"] == 1
    (named,) = [record["path"] for record in said.records if record["message_type"] == "error"]
    expected = describe(source)
    del expected[os.fsencode(Path(named).name)]
    assert describe(restored(tmp_path / "target", source)) == expected


def after_puts(monkeypatch: pytest.MonkeyPatch, count: int, act: Callable[[], None]) -> None:
    """Do something in another thread as soon as this process has put so many chunks."""
    notify, seen, started = Channel.notify, [], threading.Event()

    def counting(channel: Channel, message: messages.Message, payload=b"") -> None:
        notify(channel, message, payload)
        seen.append(message)
        if len(seen) >= count and not started.is_set():
            started.set()
            threading.Thread(target=act).start()

    monkeypatch.setattr(Channel, "notify", counting)


def test_backup_outlives_a_gateway_that_is_stopped_and_started_again(
    world: World,
    source: Path,
    tmp_path: Path,
    gateway_factory: Callable[..., RunningGateway],
    monkeypatch: pytest.MonkeyPatch,
):
    agent = world.agent()
    home = AgentHome(agent.home)
    started: list[RunningGateway] = []

    def restart() -> None:
        world.gateway.stop()
        started.append(gateway_factory())
        home.save_machine(replace(home.machine(), port=started[0].port))

    after_puts(monkeypatch, 4, restart)
    said = agent.json("backup", source, "--no-wait", "--retry-for", "60")
    assert said.code == 0, said
    assert started
    target = tmp_path / "target"
    assert agent.run("restore", "latest", "--target", target).code == 0
    assert describe(restored(target, source)) == describe(source)


def test_agent_that_is_killed_goes_on_where_it_was(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    child = subprocess.Popen(
        [sys.executable, "-m", "agents", "backup", str(source), "--no-wait"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "STRONGROOM_AGENT_HOME": str(agent.home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_pack(world.gateway, 3 << 20)
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    said = retry_while_busy(agent, source)
    assert said.code == 0, said
    assert agent.run("restore", "latest", "--target", tmp_path / "target").code == 0
    assert describe(restored(tmp_path / "target", source)) == describe(source)


def wait_for_pack(gateway: RunningGateway, size: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if sum(path.stat().st_size for path in gateway.home.rglob("*.open")) >= size or any(
            gateway.home.rglob("*.pack")
        ):
            return
        time.sleep(0.01)
    raise AssertionError("the agent sent nothing")


def retry_while_busy(agent: Agent, source: Path):
    """The gateway needs a moment to see that the killed agent's connection has ended."""
    deadline = time.monotonic() + 20
    while (said := agent.json("backup", source, "--no-wait")).code == 5 and time.monotonic() < deadline:
        time.sleep(0.1)
    return said
