"""Daemons over real TLS: offered, configured, heard, resumed."""

from __future__ import annotations

import json
import time
from uuid import UUID, uuid4

import pytest

from backup_platform.fleet.models import Machine
from backup_platform.fleet.presence import with_presence
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import Job, JobLine, JobOrigin, JobState
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import AgentPeer, Closed, Failed, wait_until
from tests.gateway.daemon_peer import WAIT, DaemonPeer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(stage):
    return stage.machine()


@pytest.fixture
def policy(stage) -> Policy:
    with tenant_scope(stage.vault.tenant_id):
        return Policy.objects.create(tenant_id=stage.vault.tenant_id, name="Documents")


def ask_for_backup(policy: Policy, machine) -> UUID:
    with tenant_scope(policy.tenant_id):
        job = agent_jobs.request_backup(policy, machine.row, origin=JobOrigin.PERSON, asked_by="tests", settings={})
    assert job is not None
    return job


def job_of(job_id: UUID) -> Job:
    with without_tenant_scope("test"):
        return Job.objects.get(pk=job_id)


def row_of(machine):
    with without_tenant_scope("test"):
        return with_presence(Machine.objects.filter(pk=machine.id)).get()


def wait_for_state(job_id: UUID, state: str, daemon: DaemonPeer | None = None) -> Job:
    until = time.monotonic() + WAIT
    while (job := job_of(job_id)).state != state:
        assert time.monotonic() < until, f"the job stays {job.state}"
        daemon.listen(0.05) if daemon else time.sleep(0.05)
    return job


def test_daemon_is_welcomed_with_its_configuration(running_gateway, machine):
    with DaemonPeer(running_gateway, machine) as daemon:
        assert daemon.connection.features == {"control"}
        configuration = json.loads(daemon.controlled.configuration)
        assert configuration["machine"] == "alpha"
        assert configuration["policies"] == []
        assert daemon.controlled.stop == b""
        assert 80 <= daemon.controlled.certificate_days_left <= 90


def test_gateway_uses_the_feature_only_when_it_is_offered(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        assert agent.welcome.features == []


def test_job_is_offered_run_and_reported(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        job_id = ask_for_backup(policy, machine)
        offered, lease, spec = daemon.accept_offer()
        assert offered == job_id
        assert spec["policy"] == "Documents"
        wait_for_state(job_id, JobState.RUNNING, daemon)
        daemon.progress(job_id, lease, ("It has begun.",), phase="saving", bytes_done=10, bytes_total=100)
        wait_until(lambda: job_of(job_id).progress.get("bytes_done") == 10, WAIT)
        snapshot = uuid4()
        said = {"message": "", "snapshot": snapshot.bytes, "counts": {"files": 3}}
        assert daemon.report(job_id, lease, **said) == messages.Reported()
        assert daemon.report(job_id, lease, **said) == messages.Reported()
    job = job_of(job_id)
    assert (job.state, job.snapshot) == (JobState.DONE, snapshot)
    with without_tenant_scope("test"):
        assert "It has begun." in [line.text for line in JobLine.objects.filter(job=job)]


def test_offer_comes_sooner_than_the_next_look_when_the_gateway_is_woken(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        daemon.listen(1.0)
        begun = time.monotonic()
        for _ in range(5):
            job_id = ask_for_backup(policy, machine)
            _, lease, _ = daemon.accept_offer()
            daemon.report(job_id, lease)
        assert time.monotonic() - begun < 5 * 5.0 / 2, "five offers by looking alone would take some twenty seconds"


def test_without_valkey_offers_come_by_looking(gateway_factory, machine, policy, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    gateway = gateway_factory()
    with DaemonPeer(gateway, machine) as daemon:
        daemon.listen(1.0)
        job_id = ask_for_backup(policy, machine)
        offered, _, _ = daemon.accept_offer()
    assert offered == job_id


def test_declined_job_is_queued_again_with_the_reason(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        job_id = ask_for_backup(policy, machine)
        event = daemon.wait_for(messages.Offer)
        refusal = messages.Accepted(accepted=False, reason="On battery.", retry_after=600.0)
        daemon.send(refusal, event.request)
        job = wait_for_state(job_id, JobState.QUEUED, daemon)
    assert "On battery." in job.last_error


def test_offer_that_an_agent_answers_with_failure_is_declined(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        job_id = ask_for_backup(policy, machine)
        event = daemon.wait_for(messages.Offer)
        daemon.send(messages.Failure(code=FailureCode.BUSY, message="Shutting down."), event.request)
        wait_for_state(job_id, JobState.QUEUED, daemon)
        assert daemon.ask(messages.Ping(time=5)).message == messages.Pong(time=5)


def test_job_is_cancelled_on_its_machine(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        job_id = ask_for_backup(policy, machine)
        _, lease, _ = daemon.accept_offer()
        wait_for_state(job_id, JobState.RUNNING, daemon)
        with without_tenant_scope("test"):
            Job.objects.filter(pk=job_id).update(state=JobState.CANCELLING)
        event = daemon.wait_for(messages.Cancel)
        assert event.message.job == job_id.bytes
        daemon.send(messages.Cancelled(), event.request)
        daemon.report(job_id, lease, "cancelled")
    assert job_of(job_id).state == JobState.CANCELLED


@pytest.mark.defence
def test_words_under_another_lease_change_nothing(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        job_id = ask_for_backup(policy, machine)
        _, lease, _ = daemon.accept_offer()
        wait_for_state(job_id, JobState.RUNNING, daemon)
        daemon.progress(job_id, "another lease", ("forged",), phase="saving", bytes_done=99)
        daemon.report(job_id, "another lease", "done")
        assert job_of(job_id).state == JobState.RUNNING
        daemon.progress(job_id, lease, phase="saving", bytes_done=10)
        wait_until(lambda: job_of(job_id).progress, WAIT)
        assert job_of(job_id).progress["bytes_done"] == 10
    with without_tenant_scope("test"):
        assert not JobLine.objects.filter(text="forged").exists()


def test_unknown_outcome_is_refused_and_the_connection_goes_on(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        with pytest.raises(Failed) as failed:
            daemon.report(uuid4(), "lease", "splendid")
        assert failed.value.code == FailureCode.INVALID
        assert daemon.report(uuid4(), "lease", "done") == messages.Reported()


def test_job_goes_on_after_the_gateway_was_killed(gateway_factory, machine, policy):
    gateway = gateway_factory()
    daemon = DaemonPeer(gateway, machine)
    job_id = ask_for_backup(policy, machine)
    _, lease, _ = daemon.accept_offer()
    wait_for_state(job_id, JobState.RUNNING, daemon)
    gateway.die()
    daemon.close()
    held = messages.RunningJob(job=job_id.bytes, lease=lease)
    lost = messages.RunningJob(job=uuid4().bytes, lease="lease")
    with DaemonPeer(gateway_factory(), machine, running=[held, lost]) as daemon:
        assert daemon.controlled.stop == lost.job
        daemon.progress(job_id, lease, phase="saving", bytes_done=7)
        wait_until(lambda: job_of(job_id).progress.get("bytes_done") == 7, WAIT)
        daemon.report(job_id, lease)
    assert job_of(job_id).state == JobState.DONE


def test_job_that_a_daemon_has_forgotten_is_tried_again_at_once(running_gateway, machine, policy):
    daemon = DaemonPeer(running_gateway, machine)
    job_id = ask_for_backup(policy, machine)
    daemon.accept_offer()
    wait_for_state(job_id, JobState.RUNNING, daemon)
    daemon.close()
    with DaemonPeer(running_gateway, machine):
        wait_until(lambda: job_of(job_id).state == JobState.QUEUED, WAIT)


def test_newer_control_connection_takes_over(running_gateway, machine):
    older = DaemonPeer(running_gateway, machine)
    with DaemonPeer(running_gateway, machine) as newer:
        with pytest.raises(Failed) as failed:
            older.wait_end()
        assert failed.value.code == FailureCode.FENCED
        assert newer.ask(messages.Ping(time=5)).message == messages.Pong(time=5)
        wait_until(lambda: row_of(machine).online, WAIT)
    older.close()


def test_machine_is_online_while_its_daemon_is_connected(running_gateway, machine):
    with DaemonPeer(running_gateway, machine, zone="Europe/Berlin", retries={"transfer": 2}):
        wait_until(lambda: row_of(machine).online, WAIT)
        row = row_of(machine)
        assert (row.zone, row.retries, row.facts) == ("Europe/Berlin", {"transfer": 2}, {"os": "Linux"})
        assert abs(row.clock_offset) < 5
    wait_until(lambda: not row_of(machine).online, WAIT)


def test_clock_that_is_a_day_ahead_is_shown_and_breaks_nothing(running_gateway, machine, policy):
    tomorrow = (time.time_ns() + 86_400 * 10**9) // 1000
    with DaemonPeer(running_gateway, machine, time=tomorrow) as daemon:
        wait_until(lambda: row_of(machine).online, WAIT)
        assert 86_390 < row_of(machine).clock_offset < 86_410
        job_id = ask_for_backup(policy, machine)
        _, lease, _ = daemon.accept_offer()
        daemon.report(job_id, lease)
    assert job_of(job_id).state == JobState.DONE


def test_machine_of_a_stopped_gateway_is_away(gateway_factory, machine):
    gateway = gateway_factory()
    with DaemonPeer(gateway, machine):
        wait_until(lambda: row_of(machine).online, WAIT)
        gateway.stop()
    assert not row_of(machine).online


def test_backup_cannot_begin_on_a_control_connection(running_gateway, machine):
    with DaemonPeer(running_gateway, machine) as daemon, pytest.raises(Exception, match="controlling"):
        daemon.begin()


def test_stranger_gets_no_control_connection(running_gateway, stage):
    header = b"SR\x01\x60" + bytes(4) + b"\x00\x00\x00\x05" + b"\x00\x00\x00\x01" + bytes(4)
    with AgentPeer(running_gateway) as stranger:
        stranger.socket.sendall(header + b"\x80")
        with pytest.raises((Failed, Closed)):
            stranger.wait_end()
