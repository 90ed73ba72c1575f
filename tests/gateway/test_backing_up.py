"""A backup over the wire: what is acknowledged is stored, and comes back as it was sent."""

from __future__ import annotations

import os

from backup_platform.catalog.models import Pack, PackState, Session, SessionState, Snapshot
from backup_platform.tenants.scope import tenant_scope
from protocol.wire import messages
from tests.gateway.agent_peer import BLOCK, AgentPeer, block_of, contents, digest, snapshot_uuid


def test_backup_is_committed_and_fetched_back_equal(running_gateway, stage):
    machine = stage.machine()
    segments = [contents(20), [os.urandom(size) for size in (1, 300_000, 1 << 20, (4 << 20) + 1000)]]
    with AgentPeer(running_gateway, machine) as agent:
        committed = agent.back_up(*segments)
        assert committed.state == "received"
        for segment in segments:
            block = block_of(segment)
            records, missing = agent.fetch(committed.snapshot, digest(block))
            assert (records, missing) == ({digest(block): block}, b"")
            records, missing = agent.fetch(committed.snapshot, digest(block), [digest(one) for one in segment])
            assert records == {digest(one): one for one in segment}
            assert missing == b""
    with tenant_scope(stage.vault.tenant_id):
        assert Snapshot.objects.get().pk == snapshot_uuid(committed)
        assert Session.objects.get().state == SessionState.COMMITTED
        pack = Pack.objects.get()
        assert pack.state == PackState.SEALED
        file = running_gateway.spool.parent / pack.path
        assert (digest(file.read_bytes()), file.stat().st_size) == (bytes(pack.digest), pack.bytes)
        assert not list(running_gateway.spool.glob("*.open"))


def test_second_backup_sends_only_what_is_missing(running_gateway, stage):
    machine, old, new = stage.machine(), contents(10), contents(3)
    with AgentPeer(running_gateway, machine) as agent:
        agent.back_up(old)
        begun = agent.begin()
        assert begun.head_sequence == 1
        assert begun.base
        everything = old + new
        assert agent.missing([digest(one) for one in everything]) == {digest(one) for one in new}
        for one in new:
            agent.put(one)
        agent.put(block_of(everything), BLOCK)
        assert isinstance(agent.commit(everything), messages.Committed)


def test_put_is_acknowledged_after_a_second_without_asking(running_gateway, stage):
    with AgentPeer(running_gateway, stage.machine()) as agent:
        agent.begin()
        first = agent.put(b"one")
        agent.wait_stored(first)
        assert agent.missing([digest(b"one")]) == set()
