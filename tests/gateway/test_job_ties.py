"""Backups and the work list: a job's backup notes its snapshot, one begun by hand has a job of its own."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import Job, JobKind, JobOrigin, JobState
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import AgentPeer, Closed, Failed, contents, snapshot_uuid, wait_until
from tests.gateway.daemon_peer import WAIT, DaemonPeer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def machine(stage):
    return stage.machine()


@pytest.fixture
def policy(stage) -> Policy:
    with tenant_scope(stage.vault.tenant_id):
        return Policy.objects.create(tenant_id=stage.vault.tenant_id, name="Documents")


def backups() -> list[Job]:
    with without_tenant_scope("test"):
        return list(Job.objects.filter(kind=JobKind.BACKUP).order_by("created_at"))


def begin(agent: AgentPeer, **said) -> None:
    message = messages.Begin(generation=0, head=bytes(32), head_sequence=0, **said)
    agent.begun = agent.ask(message).message


def finish(agent: AgentPeer, **changes):
    content = contents(2)
    for one in content:
        agent.put(one)
    from tests.gateway.agent_peer import BLOCK, block_of

    agent.put(block_of(content), BLOCK)
    return agent.commit(content, **changes)


def test_backup_begun_by_hand_is_in_the_work_list_and_done_at_commit(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent)
        (job,) = backups()
        assert (job.state, job.origin, job.machine_id) == (JobState.RUNNING, JobOrigin.MACHINE, machine.id)
        committed = finish(agent)
        (job,) = backups()
        assert (job.state, job.snapshot) == (JobState.DONE, snapshot_uuid(committed))


def test_backup_by_hand_that_could_not_read_everything_is_done_with_warnings(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent, policy="no such policy")
        finish(agent, statistics=messages.Statistics(errors=2))
    (job,) = backups()
    assert job.state == JobState.WARNINGS
    assert "2 of the sources" in job.last_error


def test_backup_by_hand_that_ends_without_a_snapshot_has_failed(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent)
        agent.send(messages.Goodbye(reason="interrupted"))
        with pytest.raises(Closed):
            agent.wait_end()
    wait_until(lambda: backups()[0].state == JobState.FAILED, WAIT)
    assert "without a snapshot" in backups()[0].last_error


def test_backup_by_hand_that_resumes_after_a_broken_connection_is_one_job(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent)
    wait_until(lambda: not running_gateway.gateway.context.backups, WAIT)
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent)
        finish(agent)
    (job,) = backups()
    assert job.state == JobState.DONE


def test_backup_by_hand_that_resumes_after_its_lease_is_still_one_job(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent)
    wait_until(lambda: not running_gateway.gateway.context.backups, WAIT)
    with without_tenant_scope("test"):
        Job.objects.update(lease_until=timezone.now())
    agent_jobs.sweep_agent_jobs()
    (job,) = backups()
    assert (job.state, "silent" in job.last_error) == (JobState.QUEUED, True)
    with AgentPeer(running_gateway, machine) as agent:
        begin(agent)
        (job,) = backups()
        assert job.state == JobState.RUNNING
        finish(agent)
    (job,) = backups()
    assert (job.state, job.last_error) == (JobState.DONE, "")


def test_backup_of_a_job_notes_its_snapshot_and_makes_no_other_job(running_gateway, machine, policy):
    with DaemonPeer(running_gateway, machine) as daemon:
        with tenant_scope(policy.tenant_id):
            agent_jobs.request_backup(policy, machine.row, origin=JobOrigin.PERSON, asked_by="tests", settings={})
        job_id, lease, _ = daemon.accept_offer()
        with AgentPeer(running_gateway, machine) as agent:
            begin(agent, job=job_id.bytes, policy="Documents")
            committed = finish(agent)
        (job,) = backups()
        assert (job.pk, job.snapshot) == (job_id, snapshot_uuid(committed))
        daemon.report(job_id, lease, snapshot=committed.snapshot)
    (job,) = backups()
    assert (job.state, job.snapshot) == (JobState.DONE, UUID(bytes=committed.snapshot))


def test_backup_for_a_job_of_nobody_may_not_begin(running_gateway, machine):
    with AgentPeer(running_gateway, machine) as agent:
        with pytest.raises(Failed) as failed:
            begin(agent, job=uuid4().bytes)
        assert failed.value.code == FailureCode.NOT_FOUND
        begin(agent)
    assert len(backups()) == 1


def test_backup_for_another_machines_job_may_not_begin(running_gateway, machine, policy, stage):
    other = stage.machine("beta")
    with tenant_scope(policy.tenant_id):
        job_id = agent_jobs.request_backup(policy, other.row, origin=JobOrigin.PERSON, asked_by="tests", settings={})
    with AgentPeer(running_gateway, machine) as agent, pytest.raises(Failed) as failed:
        begin(agent, job=job_id.bytes)
    assert failed.value.code == FailureCode.NOT_FOUND
