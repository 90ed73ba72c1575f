"""What agents and platform write, a reader that knows only docs/storage-format.md reads."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from unicodedata import normalize

import msgpack  # type: ignore[import-untyped]
import pytest

from tests.end_to_end.stage import PASSPHRASE, World
from tests.independent import reader
from tests.independent.stored import Stored, back_up_twice

READER = Path(reader.__file__)
THIRD_PARTY = {"Crypto", "blake3", "msgpack", "zstandard"}


def test_received_snapshots_are_restored_from_the_spool(stored: Stored, tmp_path: Path):
    assert not list((stored.home / "store").rglob("*.pack"))
    assert stored.was[1] != stored.was[2]
    for number in (1, 2):
        assert stored.restore(tmp_path / f"out-{number}", number) == stored.was[number]


def test_a_healed_pack_is_read_under_its_further_name(stored: Stored, tmp_path: Path):
    for pack in list((stored.home / "spool").rglob("*.pack")):
        pack.rename(pack.with_name(f"{pack.stem}.healed-1.pack"))
    assert stored.restore(tmp_path / "out", 2) == stored.was[2]


@pytest.mark.django_db(transaction=True)
def test_verified_snapshot_is_restored_from_the_target_alone(
    world: World, worker: subprocess.Popen[bytes], tmp_path: Path
):
    agent = world.agent()
    stored = back_up_twice(agent, world.kit_directory, tmp_path / "source", world.gateway.home)
    deadline = time.monotonic() + 60
    while {snapshot["state"] for snapshot in agent.json("snapshots").records[:-1]} != {"verified"}:
        assert worker.poll() is None
        assert time.monotonic() < deadline, "the worker did not verify the snapshots"
        time.sleep(0.05)
    assert stored.restore(tmp_path / "out", 2, spool=False) == stored.was[2]


def test_command_lists_and_restores_the_newest_or_the_one_that_is_named(stored: Stored, tmp_path: Path):
    ids = [stored.statement(number).stem[21:] for number in (1, 2)]
    store, key = f"{stored.home / 'store'}{os.pathsep}{stored.home / 'spool'}", stored.kit / "recovery-key.pem"
    for number, wanted in ((2, []), (1, [ids[0][:12]])):
        out = tmp_path / f"out-{number}"
        command = [sys.executable, "-m", "tests.independent.reader", store, str(key), str(out), *wanted]
        environment = os.environ | {"STRONGROOM_PASSPHRASE": PASSPHRASE}
        said = subprocess.run(command, env=environment, capture_output=True, timeout=60, cwd=READER.parents[2])
        assert said.returncode == 0, said.stderr
        assert [line.split()[0] for line in said.stdout.decode().splitlines()] == ids
        assert stored.look(out) == stored.was[number]


def test_kit_is_authenticated_as_the_page_says(stored: Stored):
    kit = json.loads((stored.kit / "kit.json").read_bytes())
    salt, rounds = base64.b64decode(kit["passphrase"]["salt"]), kit["passphrase"]["rounds"]
    derived = hashlib.pbkdf2_hmac("sha512", normalize("NFC", PASSPHRASE).encode(), salt, rounds, 64)
    assert derived[32:] == base64.b64decode(kit["passphrase"]["check"])

    def canonical(*left_out: str) -> bytes:
        rest = {name: value for name, value in kit.items() if name not in left_out}
        return json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()

    def mac(name: str, data: bytes) -> str:
        return hmac.digest(derived[:32], name.encode() + b"\0" + data, "sha256").hex()

    assert kit["files"] == {name: mac(name, (stored.kit / name).read_bytes()) for name in kit["files"]}
    assert set(kit["files"]) == {"recovery-key.pem", "signing-key.pem"}
    assert kit["mac"] == mac("kit.json", canonical("mac", "checksum"))
    assert kit["checksum"] == hashlib.sha256(canonical("checksum")).hexdigest()
    record = msgpack.unpackb(base64.b64decode(kit["vault_record"])[12:-386])
    _, secrets = reader.open_kit(stored.kit / "recovery-key.pem", PASSPHRASE)
    assert record["secret_commitment"] == reader.derive("dedup-commitment", secrets[record["epoch"]])


def test_reader_is_short_and_has_nothing_of_ours():
    text = READER.read_text()
    assert len(text.splitlines()) < 200
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").partition(".")[0])
    assert names - sys.stdlib_module_names == THIRD_PARTY
    assert not {"__import__", "importlib", "exec", "eval"} & {
        n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)
    }
