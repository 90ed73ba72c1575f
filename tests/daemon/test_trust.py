"""Certificates that renew, machines that are revoked, and names that stay on the machine."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from agents.daemon import renewal
from agents.daemon.caches import cache_name, remove_others
from agents.daemon.job_output import CommandComplaints, CommandOutput, JobLog
from agents.daemon.job_records import JobRecord
from agents.state import AgentHome
from agents.transport.control import ControlLink
from agents.transport.ladders import AnswerTimes
from backup_platform.fleet.approval import revoke_machine
from protocol.wire import messages
from tests.daemon.daemons import daemon_of, machine_of
from tests.end_to_end.stage import World


@pytest.mark.django_db(transaction=True)
def test_certificate_is_renewed_over_the_same_key_and_works(world: World, tmp_path: Path):
    agent = world.agent()
    home = AgentHome(agent.home)
    before, key = home.certificate_pem(), home.identity_pem()
    link = ControlLink(home, AnswerTimes(), lambda *asked: None, lambda *ended: None)
    try:
        link.control(messages.Control(facts={"hostname": "alpha"}, time=time.time_ns() // 1000))
        renewal.renew(home, link)
    finally:
        link.close()
    assert home.certificate_pem() != before
    assert home.identity_pem() == key
    assert home.certificate_path.stat().st_mode & 0o777 == 0o600
    assert not renewal.is_due(home)
    (tmp_path / "file").write_text("x")
    assert agent.run("backup", tmp_path / "file", "--no-wait").code == 0


@pytest.mark.django_db(transaction=True)
def test_revoked_machine_is_told_so_on_its_open_connection_and_asks_again_seldom(world: World):
    with daemon_of(world.agent()) as daemon:
        daemon.wait_for_word("connected")
        revoke_machine(machine_of(world), actor="tests")
        daemon.wait_for_word("The platform does not let this machine in")
        waits = [int(line.split()[-2]) for line in daemon.said().splitlines() if "revoked" in line]
        assert waits[0] >= 45


def test_names_of_files_stay_on_the_machine(tmp_path: Path):
    log = JobLog(tmp_path)
    output, complaints = CommandOutput(tmp_path), CommandComplaints(log)
    for number in range(50):
        output.write(f'{{"message_type": "error", "path": "/home/secret-{number}", "reason": "permission denied"}}\n')
    complaints.write(
        '{"message_type": "exit_error", "code": 1, "message": "refused at /home/secret-1: no space left",'
        ' "advice": "", "public": "The operating system refused something: no space left."}\n'
    )
    complaints.write("warning: The gateway is busy.\n")
    assert output.reasons == {"permission denied": 50}
    assert "secret" not in complaints.message
    assert [(line.level, line.text) for line in JobRecord(tmp_path).lines(0)] == [("warning", "The gateway is busy.")]


def test_log_of_a_job_is_bounded(tmp_path: Path):
    log = JobLog(tmp_path)
    for number in range(2000):
        log.say("info", f"line {number}")
    log.say("error", "x" * 10_000)
    lines = JobRecord(tmp_path).lines(0)
    assert len(lines) == 500
    assert lines[-1].text == "More was said; it is not kept."


def test_progress_is_whole_at_any_time(tmp_path: Path):
    output = CommandOutput(tmp_path)
    assert JobRecord(tmp_path).progress() == {}
    for part in (
        '{"message_type": "progress", "bytes',
        '_done": 5}\n{"message_type": "summary", "files": 1}\nnonsense\n',
    ):
        output.write(part)
    assert JobRecord(tmp_path).progress() == {"bytes_done": 5}
    assert output.summary == {"files": 1}
    assert isinstance(output, io.TextIOBase)


def test_caches_of_policies_that_are_gone_are_removed_and_the_machines_own_stays(tmp_path: Path):
    names = ["cache.sqlite", *(f"cache-{cache_name(policy)}.sqlite" for policy in ("stays", "goes"))]
    for name in [*names, f"{names[2]}-wal"]:
        (tmp_path / name).write_bytes(b"")
    remove_others(tmp_path, ["stays"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[:2])
