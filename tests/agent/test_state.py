"""The agent's home: private, atomic, one user at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from agents import state
from agents.errors import ExitCode, HomeBusy, NotEnrolled, StateFault
from agents.state import AgentHome, MachineState
from protocol.stored.statements import Statement
from tests.agent.scripted_gateway import make_home

ONE, TWO = (Statement(b"v" * 16, 1, b"m" * 16, n, n, *[bytes(32)] * 3, b"signed").encode() for n in (1, 2))


def test_empty_home_is_not_enrolled(tmp_path: Path):
    home = AgentHome(tmp_path / "agent")
    with pytest.raises(NotEnrolled) as caught:
        home.machine()
    assert caught.value.exit_code == ExitCode.AUTHENTICATION
    assert home.last_statement() is None


def test_machine_survives_the_way_to_disk_and_back(tmp_path: Path):
    home = make_home(tmp_path / "agent", 4433, write_only=True)
    assert AgentHome(home.path).machine() == home.machine()
    assert MachineState.from_json(home.machine().to_json()) == home.machine()


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b"{", b"\xff", b'{"host": 1}', b"{}"],
)
def test_damaged_machine_file_is_named_without_a_traceback(tmp_path: Path, damage: bytes):
    home = make_home(tmp_path / "agent", 1)
    (home.path / "machine.json").write_bytes(damage)
    with pytest.raises(StateFault, match=r"machine\.json"):
        home.machine()


@pytest.mark.parametrize("name", ["port", "ca_pin", "write_only"])
def test_field_of_another_type_is_refused(tmp_path: Path, name: str):
    home = make_home(tmp_path / "agent", 1)
    values = json.loads(home.machine().to_json())
    (home.path / "machine.json").write_text(json.dumps({**values, name: None}))
    with pytest.raises(StateFault, match=name):
        home.machine()


def test_missing_or_short_files_of_an_enrolled_home_are_damage_and_not_a_new_enrolment(tmp_path: Path):
    home = make_home(tmp_path / "agent", 1)
    (home.path / "secret").write_bytes(b"short")
    with pytest.raises(StateFault, match="32 bytes"):
        home.dedup_secret()
    (home.path / "secret").unlink()
    with pytest.raises(StateFault, match="missing"):
        home.dedup_secret()


def test_statement_is_pending_until_it_is_promoted_or_dropped(tmp_path: Path):
    home = AgentHome(tmp_path / "agent")
    home.prepare()
    home.save_pending_statement(ONE)
    assert (home.pending_statement(), home.last_statement()) == (ONE, None)
    home.promote_pending_statement()
    assert (home.pending_statement(), home.last_statement()) == (None, ONE)
    home.save_pending_statement(TWO)
    home.drop_pending_statement()
    assert (home.pending_statement(), home.last_statement()) == (None, ONE)
    home.promote_pending_statement()
    assert home.last_statement() == ONE


def test_interrupted_write_leaves_the_old_content_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = AgentHome(tmp_path / "agent")
    home.prepare()
    home.save_pending_statement(b"old")

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(state.os, "fsync", broken)
    with pytest.raises(StateFault):
        home.save_pending_statement(b"new")
    assert home.pending_statement() == b"old"
    assert os.listdir(home.path) == ["statement.pending"]


def test_record_number_only_grows(tmp_path: Path):
    home = make_home(tmp_path / "agent", 1, record_number=3)
    home.remember_record_number(2)
    assert home.machine().record_number == 3
    home.remember_record_number(5)
    assert home.machine().record_number == 5


def test_lower_record_number_never_overtakes_a_higher_one_on_its_way_to_disk(tmp_path: Path, monkeypatch):
    home = make_home(tmp_path / "agent", 1, record_number=3)
    save, other = (
        AgentHome.save_machine,
        threading.Thread(target=lambda: AgentHome(home.path).remember_record_number(5)),
    )

    def slowly(self: AgentHome, machine: MachineState) -> None:
        if machine.record_number == 4:
            other.start()  # a second command, in the middle of the first one's write
            other.join(0.3)
        save(self, machine)

    monkeypatch.setattr(AgentHome, "save_machine", slowly)
    home.remember_record_number(4)
    other.join(20)
    assert home.machine().record_number == 5


def test_damaged_last_statement_is_named_without_a_traceback(tmp_path: Path):
    home = make_home(tmp_path / "agent", 1)
    (home.path / "statement.last").write_bytes(b"STRM rubbish")
    with pytest.raises(StateFault, match=r"statement\.last"):
        home.last_statement()


def _try_lock(path: str, answer) -> None:
    try:
        with AgentHome(path).locked():
            answer.put("got it")
    except HomeBusy as fault:
        answer.put(int(fault.exit_code))


def test_second_process_is_told_that_the_home_is_busy(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    home = AgentHome(tmp_path / "agent")
    with home.locked():
        child = context.Process(target=_try_lock, args=(str(home.path), answer))
        child.start()
        assert answer.get(timeout=20) == ExitCode.TEMPORARY
        child.join(20)
    with home.locked():
        pass


def test_home_of_others_is_made_private(tmp_path: Path):
    (tmp_path / "agent").mkdir(mode=0o755)
    AgentHome(tmp_path / "agent").prepare()
    assert (tmp_path / "agent").stat().st_mode & 0o777 == 0o700
