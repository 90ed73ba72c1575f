"""What one machine may take from the others."""

from __future__ import annotations

import threading

import pytest

from backup_platform.catalog import arrivals
from backup_platform.catalog import commit as committing
from backup_platform.catalog.commit import MissingIds
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import JobOrigin
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.packs import RECORD_HEADER_SIZE
from tests.gateway.agent_peer import AgentPeer, Failed, contents, wait_until
from tests.gateway.daemon_peer import DaemonPeer


def test_long_commits_leave_a_thread_for_acknowledgements(gateway_factory, stage, monkeypatch):
    busy, go_on = threading.Semaphore(0), threading.Event()

    def commit_for_ever(*arguments):
        busy.release()
        assert go_on.wait(20)
        return MissingIds([bytes(32)])

    monkeypatch.setattr(committing, "commit_snapshot", commit_for_ever)
    gateway = gateway_factory(limits=GatewayLimits(database_threads=3, commits=2))
    agents = [AgentPeer(gateway, stage.machine(f"big-{number}")) for number in range(3)]
    try:
        for agent in agents:
            agent.begin()
        slow = [threading.Thread(target=agent.commit, args=[contents(1)]) for agent in agents]
        for one in slow:
            one.start()
        assert busy.acquire(timeout=10)
        assert busy.acquire(timeout=10)
        with AgentPeer(gateway, stage.machine("small")) as agent:
            agent.begin()
            agent.put(b"one")
            agent.flush()
            assert agent.stored == 1
        assert not busy.acquire(timeout=0.1), "the third commit waits for its turn"
    finally:
        go_on.set()
        for one in slow:
            one.join(20)
        for agent in agents:
            agent.close()
    assert busy.acquire(timeout=10)


@pytest.mark.defence
def test_jobs_are_offered_while_every_thread_of_the_database_is_in_a_commit(gateway_factory, stage, monkeypatch):
    busy, go_on = threading.Semaphore(0), threading.Event()

    def commit_for_ever(*arguments):
        busy.release()
        assert go_on.wait(60)
        return MissingIds([bytes(32)])

    monkeypatch.setattr(committing, "commit_snapshot", commit_for_ever)
    gateway = gateway_factory(limits=GatewayLimits(database_threads=1, commits=1))
    agent, machine = AgentPeer(gateway, stage.machine("big")), stage.machine("small")
    with tenant_scope(stage.vault.tenant_id):
        policy = Policy.objects.create(tenant_id=stage.vault.tenant_id, name="Documents")
    daemon = DaemonPeer(gateway, machine)
    agent.begin()
    slow = threading.Thread(target=agent.commit, args=[contents(1)])
    slow.start()
    try:
        assert busy.acquire(timeout=20)
        with tenant_scope(policy.tenant_id):
            agent_jobs.request_backup(policy, machine.row, origin=JobOrigin.PERSON, asked_by="tests", settings={})
        job_id, _, _ = daemon.accept_offer()
        assert job_id
    finally:
        go_on.set()
        slow.join(60)
        agent.close()
        daemon.close()


def test_flush_that_waits_for_others_covers_what_came_meanwhile(gateway_factory, stage, strongroom_home, monkeypatch):
    real, covered = arrivals.record_arrivals, []
    entered, go_on = threading.Event(), threading.Event()

    def record(session, fence, pack, rows):
        covered.append(len(rows))
        if len(covered) == 1:
            entered.set()
            assert go_on.wait(30)
        return real(session, fence, pack, rows)

    def written() -> int:
        return sum(path.stat().st_size for path in strongroom_home.rglob("*.open"))

    monkeypatch.setattr(arrivals, "record_arrivals", record)
    gateway, five = gateway_factory(limits=GatewayLimits(flushes=1, flush_seconds=0.01)), contents(5)
    with AgentPeer(gateway, stage.machine("first")) as first, AgentPeer(gateway, stage.machine("second")) as second:
        first.begin()
        first.put(b"one")
        assert entered.wait(30)
        second.begin()
        for content in five:  # the flush is due after the first of them
            before = written()
            second.put(content)
            wait_until(lambda before=before: written() > before)
        go_on.set()
        second.wait_stored(5)
    assert covered == [1, 5]


@pytest.mark.defence
def test_a_flush_that_waits_long_never_covers_more_than_can_be_written_at_once(
    gateway_factory, stage, strongroom_home, monkeypatch
):
    real, covered, most = arrivals.record_arrivals, [], 300
    entered, go_on = threading.Event(), threading.Event()

    def record(session, fence, pack, rows):
        covered.append(len(rows))
        if len(covered) == 1:
            entered.set()
            assert go_on.wait(60)
        return real(session, fence, pack, rows)

    def written() -> int:
        return sum(path.stat().st_size for path in strongroom_home.rglob("*.open"))

    monkeypatch.setattr(arrivals, "record_arrivals", record)
    monkeypatch.setattr(arrivals, "MAX_ARRIVALS", most)
    gateway = gateway_factory(limits=GatewayLimits(flushes=1, flush_seconds=0.01, pack_records=most))
    with AgentPeer(gateway, stage.machine("first")) as first, AgentPeer(gateway, stage.machine("second")) as second:
        first.begin()
        first.put(b"one")
        assert entered.wait(30)
        second.begin()
        for number in range(2 * most):
            second.put(number.to_bytes(2, "big"))
        wait_until(lambda: written() > most * RECORD_HEADER_SIZE)
        go_on.set()
        failed = None
        try:
            second.wait_stored(2 * most)
        except Failed as fault:
            failed = fault
    assert max(covered) <= most, failed
    assert failed is None
