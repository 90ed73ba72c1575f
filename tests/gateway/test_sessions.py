"""One backup a machine: fences, leases, resuming, and what a gateway does when it is told to stop."""

from __future__ import annotations

import os
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.catalog.errors import Fenced
from backup_platform.catalog.models import Pack, PackState, Session, SessionState
from backup_platform.gateway import handlers
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.tenants.scope import tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import (
    BLOCK,
    AgentPeer,
    Closed,
    Failed,
    begin_when_free,
    block_of,
    contents,
    digest,
    wait_until,
)


def put_and_flush(agent: AgentPeer, payload: bytes) -> None:
    agent.put(payload)
    agent.flush()


def end_lease(stage) -> None:
    with tenant_scope(stage.vault.tenant_id):
        Session.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def test_second_backup_of_a_machine_is_busy_while_one_is_live(running_gateway, stage):
    machine = stage.machine()
    with AgentPeer(running_gateway, machine) as first, AgentPeer(running_gateway, machine) as second:
        first.begin()
        with pytest.raises(Failed) as failed:
            second.begin()
        assert failed.value.code == FailureCode.BUSY
        assert 0 < failed.value.failure.retry_after <= 5
        first.put(b"still mine")
        first.flush()


def test_lost_connection_frees_the_lease_and_the_next_one_resumes(running_gateway, stage):
    machine, segment = stage.machine(), contents(6)
    with AgentPeer(running_gateway, machine) as first:
        begun = first.begin()
        for content in segment[:4]:
            first.put(content)
        first.flush()
    with AgentPeer(running_gateway, machine) as second:
        again = begin_when_free(second)
        assert (again.session, again.fence) == (begun.session, begun.fence + 1)
        missing = second.missing([digest(one) for one in segment])
        assert missing == {digest(one) for one in segment[4:]}
        for content in segment[4:]:
            second.put(content)
        second.put(block_of(segment), BLOCK)
        committed = second.commit(segment)
        records, _ = second.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
        assert records == {digest(one): one for one in segment}
    with tenant_scope(stage.vault.tenant_id):
        assert Pack.objects.count() == 1, "the resumed session went on in its parked pack"


def test_older_connection_can_write_nothing_more(running_gateway, stage):
    """Its lease ended without its knowledge: the fence, not the clock, keeps it out."""
    machine, late = stage.machine(), b"too late"
    with AgentPeer(running_gateway, machine) as older, AgentPeer(running_gateway, machine) as newer:
        older.begin()
        older.put(b"in time")
        older.flush()
        end_lease(stage)
        newer.begin()
        with pytest.raises(Failed) as failed:
            put_and_flush(older, late)
        assert failed.value.code == FailureCode.FENCED
        assert newer.missing([digest(late), digest(b"in time")]) == {digest(late)}


def test_older_connection_on_another_gateway_can_write_nothing_more(gateway_factory, stage):
    one, two = gateway_factory(), gateway_factory()
    machine, late = stage.machine(), contents(1)
    with AgentPeer(one, machine) as older, AgentPeer(two, machine) as newer:
        older.begin()
        older.put(b"in time")
        older.flush()
        end_lease(stage)
        newer.begin()
        older.put(late[0])
        with pytest.raises(Failed) as failed:
            older.flush()
        assert failed.value.code == FailureCode.FENCED
        assert newer.missing([digest(late[0]), digest(b"in time")]) == {digest(late[0])}


def test_older_connection_on_another_gateway_cannot_commit(gateway_factory, stage):
    one, two = gateway_factory(), gateway_factory()
    machine, segment = stage.machine(), contents(2)
    with AgentPeer(one, machine) as older, AgentPeer(two, machine) as newer:
        older.begin()
        for content in segment:
            older.put(content)
        older.put(block_of(segment), BLOCK)
        older.flush()
        end_lease(stage)
        newer.begin()
        with pytest.raises(Failed) as failed:
            older.commit(segment)
        assert failed.value.code == FailureCode.FENCED


def test_commit_of_another_session_is_refused(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.begin()
        with pytest.raises(Failed) as failed:
            agent.commit([], session=os.urandom(16))
    assert failed.value.code == FailureCode.FENCED


def test_commit_without_its_chunks_names_them_and_succeeds_when_they_came(running_gateway, stage):
    segment = contents(3)
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.begin()
        agent.put(segment[0])
        agent.put(block_of(segment), BLOCK)
        answer = agent.commit(segment)
        assert isinstance(answer, messages.Missing)
        assert {answer.ids[i : i + 32] for i in range(0, len(answer.ids), 32)} == {digest(one) for one in segment[1:]}
        for content in segment[1:]:
            agent.put(content)
        assert isinstance(agent.commit(segment), messages.Committed)


def test_repeated_commit_after_a_lost_answer_gets_the_same_snapshot(running_gateway, stage):
    machine, segment = stage.machine(), contents(2)
    with AgentPeer(running_gateway, machine) as agent:
        agent.begin()
        for content in segment:
            agent.put(content)
        agent.put(block_of(segment), BLOCK)
        first = agent.begun
        proposal = {}
        original = agent.ask

        def remember(message, payload=b""):
            proposal.update(message=message, payload=payload)
            return original(message, payload)

        agent.ask = remember
        committed = agent.commit(segment)
    with AgentPeer(running_gateway, machine) as agent:
        begun = begin_when_free(agent)
        assert begun.session != first.session
        message = proposal["message"]
        fields = {name: getattr(message, name) for name in message.__struct_fields__}
        again = messages.Commit(**fields | {"session": begun.session, "fence": begun.fence})
        answer = agent.ask(again, proposal["payload"]).message
    assert (answer.snapshot, answer.received_at) == (committed.snapshot, committed.received_at)


def test_two_backups_on_one_connection(running_gateway, stage):
    one, two = contents(3), contents(3)
    with AgentPeer(running_gateway, stage.machine()) as agent:
        first = agent.back_up(one)
        second = agent.back_up(one, two)
        assert first.snapshot != second.snapshot
        listed = agent.ask(messages.List()).message
    assert [item.id for item in listed.items] == [second.snapshot, first.snapshot]
    assert [item.sequence for item in listed.items] == [2, 1]


def test_killed_gateway_loses_nothing_acknowledged(gateway_factory, stage):
    machine, segment = stage.machine(), contents(5, 50_000)
    dead = gateway_factory()
    with AgentPeer(dead, machine) as agent:
        agent.begin()
        for content in segment[:3]:
            agent.put(content)
        agent.flush()
        agent.put(segment[3])
        dead.die()
    end_lease(stage)
    heir = gateway_factory()
    assert heir.spool == dead.spool, "an orphan spool is taken over"
    with AgentPeer(heir, machine) as agent:
        agent.begin()
        missing = agent.missing([digest(one) for one in segment])
        assert missing >= {digest(segment[4])}
        assert missing.isdisjoint({digest(one) for one in segment[:3]})
        for content in segment:
            if digest(content) in missing:
                agent.put(content)
        agent.put(block_of(segment), BLOCK)
        committed = agent.commit(segment)
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}


def test_gateway_that_stops_says_goodbye_and_seals_what_is_open(gateway_factory, stage):
    gateway = gateway_factory()
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        agent.put(b"not yet asked for")
        agent.wait_stored(1)
        agent.put(b"on its way")
        wait_until(lambda: all(peer.connection.puts == 2 for peer in gateway.gateway.peers))
        wait_until(lambda: gateway.gateway.context.received.held == 0)
        gateway.stop()
        with pytest.raises(Closed, match="goodbye"):
            agent.wait_end()
        assert agent.stored == 2, "what was appended is flushed and acknowledged before the end"
    with tenant_scope(stage.vault.tenant_id):
        pack, session = Pack.objects.get(), Session.objects.get()
        assert (pack.state, pack.records) == (PackState.SEALED, 2)
        assert session.state == SessionState.OPEN
        assert session.lease_until <= timezone.now()
    assert not list(gateway.spool.glob("*.open"))


def test_commit_in_hand_is_answered_before_the_gateway_stops(gateway_factory, stage, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    commit = handlers.commit

    def slow_commit(*arguments):
        begun.set()
        assert go_on.wait(10)
        return commit(*arguments)

    monkeypatch.setattr(handlers, "commit", slow_commit)
    gateway, segment = gateway_factory(), contents(2)
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        for content in segment:
            agent.put(content)
        agent.put(block_of(segment), BLOCK)
        stopping = threading.Thread(target=lambda: (begun.wait(10), gateway.stop()))
        stopping.start()
        threading.Thread(
            target=lambda: (begun.wait(10), wait_until(agent_is_told_to_stop(gateway)), go_on.set())
        ).start()
        assert isinstance(agent.commit(segment), messages.Committed)
        stopping.join(15)


def agent_is_told_to_stop(gateway):
    return lambda: all(peer.session.ending for peer in gateway.gateway.peers)


def test_two_gateways_have_spools_of_their_own(gateway_factory, stage):
    one, two = gateway_factory(), gateway_factory()
    assert one.spool != two.spool
    segment = contents(4)
    with AgentPeer(one, stage.machine()) as agent:
        committed = agent.back_up(segment)
    with AgentPeer(two, agent.identity) as agent:
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}


def test_parked_pack_is_sealed_when_the_session_goes_on_elsewhere(gateway_factory, stage):
    one, two = gateway_factory(limits=GatewayLimits(retry_seconds=0.05)), gateway_factory()
    machine = stage.machine()
    with AgentPeer(one, machine) as agent:
        agent.begin()
        agent.put(b"one")
        agent.flush()
    assert not list(one.spool.glob("*.pack"))
    with AgentPeer(two, machine) as agent:
        begin_when_free(agent)
        wait_until(lambda: list(one.spool.glob("*.pack")))


def test_idle_pack_is_sealed(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(pack_idle_seconds=0.2, retry_seconds=0.05, flush_seconds=0.05))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        agent.put(b"one")
        agent.wait_stored(1)
        wait_until(lambda: list(gateway.spool.glob("*.pack")))
        agent.put(b"two")
        agent.flush()
    wait_until(lambda: len(list(gateway.spool.glob("*.pack"))) == 2)


def test_pack_is_sealed_when_it_is_full(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(pack_bytes=1 << 20, append_batch=1 << 19))
    segment = [os.urandom(1 << 18) for _ in range(12)]
    with AgentPeer(gateway, stage.machine()) as agent:
        committed = agent.back_up(segment)
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}
    with tenant_scope(stage.vault.tenant_id):
        assert Pack.objects.filter(state=PackState.SEALED).count() == 3
        assert not Pack.objects.exclude(state=PackState.SEALED).exists()


@pytest.mark.defence
def test_renewal_that_meets_a_finished_commit_does_not_end_the_connection(gateway_factory, stage, monkeypatch):
    """The commit has ended the session in the database, and its answer is not on its way yet."""
    commit, renew = handlers.commit, handlers.renew
    committed, renewed = threading.Event(), threading.Event()

    def commit_slowly(*arguments):
        answer = commit(*arguments)
        committed.set()
        assert renewed.wait(30)
        return answer

    def renew_late(*arguments):
        assert committed.wait(30)
        try:
            renew(*arguments)
        except Fenced:
            renewed.set()
            raise

    monkeypatch.setattr(handlers, "commit", commit_slowly)
    monkeypatch.setattr(handlers, "renew", renew_late)
    limits = GatewayLimits(lease_renewal_seconds=0.05)
    with AgentPeer(gateway_factory(limits=limits), stage.machine()) as agent:
        try:
            agent.back_up(contents(3))
        except Failed as failed:
            pytest.fail(f"the connection of a committed backup was ended: {failed}")
        assert renewed.is_set()
