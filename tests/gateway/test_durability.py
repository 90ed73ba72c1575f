"""Law 1: bytes on disk, fsync, database commit, acknowledgement; and what happens when the disk refuses."""

from __future__ import annotations

import pytest

from backup_platform.catalog import arrivals
from backup_platform.catalog.models import Pack, PackState
from backup_platform.gateway import arriving
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.gateway.peer import Peer
from backup_platform.tenants.scope import tenant_scope
from protocol.wire import FailureCode, messages
from tests.gateway.agent_peer import (
    BLOCK,
    AgentPeer,
    Failed,
    begin_when_free,
    block_of,
    contents,
    digest,
    wait_until,
)
from tests.gateway.faulty_files import EIO, ENOSPC, BreakableFileLayer, RecordingFileLayer

QUICK = GatewayLimits(retry_seconds=0.1)


@pytest.mark.defence
def test_acknowledgement_comes_after_bytes_sync_and_rows(gateway_factory, stage, monkeypatch):
    log: list[str] = []
    record, send = arrivals.record_arrivals, Peer.send

    def record_and_note(*arguments):
        record(*arguments)
        log.append("rows")

    def note_and_send(peer, message, *arguments):
        if isinstance(message, messages.Stored):
            log.append("stored")
        send(peer, message, *arguments)

    monkeypatch.setattr(arriving.arrivals, "record_arrivals", record_and_note)
    monkeypatch.setattr(Peer, "send", note_and_send)
    gateway = gateway_factory(files=RecordingFileLayer(log))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        log.clear()
        agent.put(b"first")
        agent.flush()
        assert log == ["create .open", "write", "write", "fdatasync", "fsync directory", "rows", "stored"]
        log.clear()
        agent.put(b"second")
        agent.flush()
        assert log == ["write", "fdatasync", "rows", "stored"]


@pytest.mark.defence
def test_seal_is_synced_before_and_after_it_gets_its_name(gateway_factory, stage):
    log: list[str] = []
    gateway = gateway_factory(files=RecordingFileLayer(log))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        agent.put(b"first")
        agent.flush()
        log.clear()
        agent.commit([b"nothing"])  # answered MISSING, but the pack is sealed before that is known
    assert log == ["write", "fdatasync", "rename .open .pack", "fsync directory"]


@pytest.mark.parametrize("call", ["write", "fdatasync", "fsync_directory"])
def test_after_a_failed_call_nothing_is_acknowledged_and_the_file_is_never_touched_again(gateway_factory, stage, call):
    files = BreakableFileLayer()
    gateway = gateway_factory(files=files, limits=QUICK)
    machine, segment = stage.machine(), contents(4)
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        if call != "fsync_directory":
            for content in segment[:2]:
                agent.put(content)
            agent.flush()
        acknowledged = agent.stored
        files.broken[call] = EIO
        agent.put(segment[2])
        with pytest.raises(Failed) as failed:
            agent.flush()
        assert failed.value.code == FailureCode.TEMPORARY
        assert failed.value.failure.retry_after
        assert agent.stored == acknowledged
    files.broken.clear()
    with AgentPeer(gateway, machine) as agent:
        begin_when_free(agent)
        missing = agent.missing([digest(one) for one in segment])
        assert missing == {digest(one) for one in segment[acknowledged:]}
        for content in segment[acknowledged:]:
            agent.put(content)
        agent.put(block_of(segment), BLOCK)
        committed = agent.commit(segment)
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
        assert records == {digest(one): one for one in segment}
    wait_until(lambda: not list(gateway.spool.glob("*.open")))
    assert files.touched_after_fault == []
    with tenant_scope(stage.vault.tenant_id):
        assert set(Pack.objects.values_list("state", flat=True)) == {PackState.SEALED}
        assert sum(Pack.objects.values_list("records", flat=True)) == len(segment) + 1


def test_failed_seal_is_finished_from_the_rows_and_does_not_stop_the_commit(gateway_factory, stage):
    files = BreakableFileLayer()
    gateway = gateway_factory(files=files, limits=QUICK)
    segment = contents(3)
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        files.broken["rename"] = EIO
        for content in segment:
            agent.put(content)
        agent.put(block_of(segment), BLOCK)
        committed = agent.commit(segment)
        assert isinstance(committed, messages.Committed)
        files.broken.clear()
        wait_until(lambda: list(gateway.spool.glob("*.pack")))
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}


def test_full_disk_is_said_plainly_and_the_backup_goes_on_when_there_is_space(gateway_factory, stage):
    files = BreakableFileLayer()
    gateway = gateway_factory(files=files, limits=QUICK)
    machine, segment = stage.machine(), contents(3)
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        agent.put(segment[0])
        agent.flush()
        files.broken["write"] = ENOSPC
        agent.put(segment[1])
        with pytest.raises(Failed, match="full") as failed:
            agent.flush()
        assert failed.value.code == FailureCode.TEMPORARY
    with AgentPeer(gateway, machine) as agent:
        begin_when_free(agent)
        agent.put(segment[1])
        with pytest.raises(Failed, match="full"):
            agent.flush()
    files.broken.clear()
    with AgentPeer(gateway, machine) as agent:
        begin_when_free(agent)
        assert agent.missing([digest(one) for one in segment]) == {digest(one) for one in segment[1:]}
        for content in segment[1:]:
            agent.put(content)
        agent.put(block_of(segment), BLOCK)
        assert isinstance(agent.commit(segment), messages.Committed)
    wait_until(lambda: not list(gateway.spool.glob("*.open")))


def test_no_pack_is_begun_when_space_is_short(gateway_factory, stage):
    files = BreakableFileLayer()
    gateway = gateway_factory(files=files)
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        files.broken["free_bytes"] = ENOSPC
        agent.put(b"one")
        with pytest.raises(Failed, match="nearly full") as failed:
            agent.flush()
    assert failed.value.code == FailureCode.TEMPORARY
    assert not list(gateway.spool.glob("*.open"))


def test_short_writes_are_finished(gateway_factory, stage):
    files = BreakableFileLayer()
    files.short = 777
    gateway = gateway_factory(files=files)
    segment = contents(5, 10_000)
    with AgentPeer(gateway, stage.machine()) as agent:
        committed = agent.back_up(segment)
        records, _ = agent.fetch(committed.snapshot, digest(block_of(segment)), [digest(one) for one in segment])
    assert records == {digest(one): one for one in segment}


def test_database_that_refuses_the_rows_means_no_acknowledgement(gateway_factory, stage, monkeypatch):
    from django.db import OperationalError

    def refuse(*arguments):
        raise OperationalError("the connection is lost")

    gateway = gateway_factory(limits=QUICK)
    machine = stage.machine()
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        with monkeypatch.context() as patch:
            patch.setattr(arriving.arrivals, "record_arrivals", refuse)
            agent.put(b"one")
            with pytest.raises(Failed) as failed:
                agent.flush()
        assert failed.value.code == FailureCode.TEMPORARY
        assert "lost" not in failed.value.failure.message
        assert agent.stored == 0
    with AgentPeer(gateway, machine) as agent:
        begin_when_free(agent)
        assert agent.missing([digest(b"one")]) == {digest(b"one")}
    wait_until(lambda: not list(gateway.spool.glob("*.open")))


def test_what_is_unexpected_is_told_without_details(gateway_factory, stage, monkeypatch):
    from backup_platform.gateway import handlers

    def explode(*arguments):
        raise ValueError("/var/lib/secret/path")

    gateway = gateway_factory()
    monkeypatch.setattr(handlers, "missing_ids", explode)
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        with pytest.raises(Failed) as failed:
            agent.missing([bytes(32)])
    assert failed.value.code == FailureCode.INTERNAL
    assert "secret" not in failed.value.failure.message


def test_open_pack_is_sealed_when_space_is_short(gateway_factory, stage):
    """What is open may not grow into the reserve: there may be many of them, and the database beside them."""
    files = BreakableFileLayer()
    gateway = gateway_factory(files=files)
    machine = stage.machine()
    with AgentPeer(gateway, machine) as agent:
        agent.begin()
        agent.put(b"one")
        agent.flush()
        files.broken["free_bytes"] = ENOSPC
        agent.put(b"two")
        with pytest.raises(Failed, match="nearly full"):
            agent.flush()
        wait_until(lambda: list(gateway.spool.glob("*.pack")))
    with AgentPeer(gateway, machine) as agent:
        begin_when_free(agent)
        assert agent.missing([digest(b"one"), digest(b"two")]) == {digest(b"two")}


def test_tiny_records_seal_a_pack_by_their_number(gateway_factory, stage):
    gateway = gateway_factory(limits=GatewayLimits(pack_records=300))
    with AgentPeer(gateway, stage.machine()) as agent:
        agent.begin()
        for number in range(1000):
            agent.put(number.to_bytes(2, "big"))
        agent.flush()
        with tenant_scope(stage.vault.tenant_id):
            sealed = list(Pack.objects.filter(state=PackState.SEALED).values_list("records", flat=True))
    assert len(sealed) >= 1
    assert all(300 <= records < 300 + arriving.MAX_BATCH for records in sealed)
