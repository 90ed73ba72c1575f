"""The agent dies at any step: what it believes afterwards is never more than what the server acknowledged."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.engine import cache as cache_module
from tests.engine.machines import TICK, Machine
from tests.engine.memory_link import Vault
from tests.engine.test_backing_up import make_tree

DEATH = 9


def die(*_: object, **__: object) -> None:
    """As by SIGKILL: nothing is closed, rolled back or cleaned up."""
    os._exit(DEATH)


def at_put(number: int) -> Callable[[Machine, Path], None]:
    def prepare(machine: Machine, _: Path) -> None:
        machine.link.before_put = lambda count: die() if count == number else None

    return prepare


def before_commit(machine: Machine, _: Path) -> None:
    machine.link.before_commit = die


def after_commit(machine: Machine, vault_file: Path) -> None:
    machine.home.promote_pending_statement = die


def before_switch(machine: Machine, vault_file: Path) -> None:
    cache_module.Cache.switch = die


def after_switch(machine: Machine, vault_file: Path) -> None:
    cache_module.Cache.close = die


def in_staging(machine: Machine, vault_file: Path) -> None:
    cache_module.Cache.stage_layout = die


STEPS = [at_put(0), at_put(1), at_put(5), in_staging, before_commit, after_commit, before_switch, after_switch]


def run_and_die(machine: Machine, tree: Path, prepare: Callable[[Machine, Path], None], vault_file: Path) -> None:
    """Back up in a child that dies; what the server had stored by then is in `vault_file`."""
    child = os.fork()
    if child == 0:
        try:
            machine.connect()
            lock = threading.Lock()
            put, commit = machine.link.put, machine.link.commit

            def keep() -> None:
                with lock:
                    vault_file.with_suffix(".new").write_bytes(pickle.dumps(machine.vault))
                    vault_file.with_suffix(".new").rename(vault_file)

            def keeping_put(*args):
                put(*args)
                keep()

            def keeping_commit(*args):
                answer = commit(*args)
                keep()
                return answer

            prepare(machine, vault_file)
            machine.link.put, machine.link.commit = keeping_put, keeping_commit
            machine.back_up(tree, connect=False)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == DEATH


@pytest.mark.parametrize("prepare", STEPS, ids=lambda step: step.__qualname__.split(".")[0])
@pytest.mark.parametrize("warm", [False, True], ids=["first", "later"])
def test_backup_after_a_crash_is_complete_and_honest(tmp_path, prepare, warm):
    machine = Machine(tmp_path, Vault())
    tree = make_tree(tmp_path / "tree", files=200)
    time.sleep(TICK)
    if warm:
        machine.back_up(tree)
        (tree / "more.bin").write_bytes(os.urandom(6_000_000))
        (tree / "d0/e0/f0.txt").write_text("changed")
        (tree / "d1/e1/f1.txt").unlink()
        time.sleep(TICK)
    vault_file = tmp_path / "vault"
    run_and_die(machine, tree, prepare, vault_file)
    if vault_file.exists():
        machine.vault = pickle.loads(vault_file.read_bytes())  # noqa: S301 - our own child wrote it
    acknowledged = len(machine.vault.snapshots.get(machine.id, []))
    result = machine.back_up(tree)
    assert result.sequence == acknowledged + 1
    assert result.errors == 0
    machine.opened().assert_equals(tree)
    assert machine.back_up(tree).bytes_read == 0
    machine.opened().assert_equals(tree)
