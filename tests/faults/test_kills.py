"""SIGKILL of each part in the middle of a backup: the same backup ends, sends little twice, and restores equal."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.proxy import Proxy
from tests.faults.stage import MIB, Machine, Stage, ended, make_files

SIZE = 32
LATE = 27 * MIB
"""Bytes after which the part is killed: were all of them sent again, the test would fail."""
QUICKLY = 24 * MIB
"""Bytes a second: a backup that lasts long enough to be hit, and acknowledgements every second."""


@pytest.fixture(scope="package")
def uninterrupted(stage: Stage, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes that a backup of such a tree sends when nothing happens."""
    source = make_files(tmp_path_factory.mktemp("plain") / "source", SIZE, 1)
    with Proxy(stage.gateway).running() as proxy:
        machine.dial("127.0.0.1", proxy.port)
        machine.back_up(source)
        machine.dial(*stage.gateway)
        return proxy.up


def allowed(uninterrupted: int) -> float:
    return uninterrupted + 0.1 * SIZE * MIB + 16 * MIB


@pytest.mark.parametrize("name", ["gateway", "postgres", "valkey", "worker"])
def test_backup_outlives_the_death_of(
    name: str, stage: Stage, machine: Machine, proxy: Proxy, uninterrupted: int, tmp_path: Path, target: Path
) -> None:
    source = make_files(tmp_path / "source", SIZE, hash(name))
    proxy.rate, before = QUICKLY, stage.pid(name)
    proxy.at(LATE, lambda: stage.kill(name))
    machine.back_up(source)
    assert proxy.happened, "nothing was killed"
    stage.wait_for_new(name, before)
    assert proxy.up <= allowed(uninterrupted)
    machine.restores_equal(source, target)
    assert stage.check_ledgers(machine)["bytes"] >= SIZE * MIB


def test_agent_that_was_killed_goes_on_where_it_was(
    stage: Stage, machine: Machine, proxy: Proxy, uninterrupted: int, tmp_path: Path, target: Path
) -> None:
    source = make_files(tmp_path / "source", SIZE, 99)
    proxy.rate = QUICKLY
    process = machine.start("backup", source, "--no-wait", "--json")
    proxy.at(LATE, process.kill)
    assert ended(process).code == -9
    stage.check_ledgers(machine)
    machine.back_up_when_free(source)
    assert proxy.up <= allowed(uninterrupted)
    machine.restores_equal(source, target)
    stage.check_ledgers(machine)
