"""A link that loses, stalls, resets, doubles, closes and falsifies, is slow and is cut again and again."""

from __future__ import annotations

from pathlib import Path

from tests.faults.proxy import Fault, Proxy
from tests.faults.stage import MIB, Machine, Stage, ended, make_files

MEGABIT = 1_000_000 / 8


def test_backup_outlives_every_fault_of_its_link_in_turn(
    stage: Stage, machine: Machine, proxy: Proxy, tmp_path: Path, target: Path
) -> None:
    source = make_files(tmp_path / "source", 12, 201)
    for number, fault in enumerate(Fault):
        proxy.at((2 * number + 1) * MIB, fault)
    machine.back_up(source, IMPATIENT="1")
    assert proxy.happened == list(Fault)
    machine.restores_equal(source, target)
    stage.check_ledgers(machine)


def test_slow_link_that_is_cut_again_and_again_still_finishes(
    stage: Stage, machine: Machine, proxy: Proxy, tmp_path: Path, target: Path
) -> None:
    source = make_files(tmp_path / "source", 8, 202)
    proxy.rate = 20 * MEGABIT
    proxy.cut_every(3)
    machine.back_up(source)
    assert proxy.cuts
    proxy.rate = None
    machine.dial(*stage.gateway)
    machine.restores_equal(source, target)
    stage.check_ledgers(machine)


def test_restore_outlives_every_fault_of_its_link(
    stage: Stage, machine: Machine, proxy: Proxy, tmp_path: Path, target: Path
) -> None:
    source = make_files(tmp_path / "source", 12, 203)
    machine.back_up(source)
    before = proxy.down
    for number, fault in enumerate(Fault):
        proxy.at(before + (2 * number + 1) * MIB, fault, upwards=False)
    machine.restores_equal(source, target, IMPATIENT="1")
    assert proxy.happened == list(Fault)


def test_second_backup_of_one_machine_at_once_is_told_busy(
    stage: Stage, machine: Machine, proxy: Proxy, tmp_path: Path, target: Path
) -> None:
    """The second one is a copy of the machine, so that the server says it and not the first one's lock file."""
    import shutil
    import threading

    source = make_files(tmp_path / "source", 6, 204)
    twin = Machine(tmp_path / "twin", machine.gateway)
    shutil.copytree(machine.home, twin.home)
    proxy.rate, halfway = 6 * MIB, threading.Event()
    proxy.at(2 * MIB, halfway.set)
    first = machine.start("backup", source, "--no-wait", "--json")
    assert halfway.wait(60)
    proxy.rate = MIB / 2
    said = twin.json("backup", source, "--no-wait", "--retry-for", "1")
    here = machine.json("backup", source, "--no-wait")
    proxy.rate = None
    assert ended(first).code == 0
    assert (said.code, here.code) == (5, 5), (said, here)
    assert "busy" in said.err.lower() or "another backup" in said.err.lower(), said.err
    machine.restores_equal(source, target)
    stage.check_ledgers(machine)
