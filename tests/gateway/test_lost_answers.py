"""A connection to the database that breaks between a commit and its answer: the outcome is unknown, not negative."""

from __future__ import annotations

import threading
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction

from backup_platform.catalog import arrivals, sessions
from backup_platform.catalog.deduplication import deduplicate_pack
from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.catalog.present import missing_ids
from backup_platform.catalog.reading import PackReader
from backup_platform.catalog.verification import verify_pack
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.finishing import UnfinishedPack, finish_pack
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.gateway.pack_writer import PackWriter, Record
from backup_platform.gateway.spool import create_spool, spool_root
from backup_platform.tenants.scope import tenant_scope
from tests.gateway.agent_peer import AgentPeer, Failed, contents, digest, wait_until
from tests.gateway.stage import Stage


@pytest.fixture
def open_pack(stage: Stage, strongroom_home):
    """An open pack of two records: the rows of the first are written, those of the second not yet."""
    spool = create_spool(spool_root(strongroom_home), FileLayer())
    with tenant_scope(stage.vault.tenant_id):
        begun = sessions.begin_session(stage.machine().row, spool.name)
        row = arrivals.open_pack(begun.session, begun.fence, uid=uuid4(), spool=spool.name)
        pack = UnfinishedPack.of(row, spool.directory)
        writer = PackWriter(FileLayer(), stage.vault.pk, row.uid, pack.path.with_name(pack.path.name + ".open"))
        payloads = contents(2)
        entries = writer.append([Record(1, digest(one), digest(one), one) for one in payloads])
        writer.sync()
        writer.close()
        rows = [arrivals.Arrival(one.kind, one.id, one.offset, one.length) for one in entries]
        arrivals.record_arrivals(begun.session, begun.fence, row.pk, rows[:1])
        yield begun, pack, rows, payloads
    spool.release()


@pytest.mark.defence
def test_flush_that_commits_after_its_connection_was_given_up_keeps_its_bytes(stage, open_pack):
    begun, pack, rows, payloads = open_pack
    flushed, finishing = threading.Event(), threading.Event()

    def flush() -> None:
        """What the server still does for a client that has gone."""
        with tenant_scope(stage.vault.tenant_id), transaction.atomic():
            arrivals.record_arrivals(begun.session, begun.fence, pack.pack_id, rows[1:])
            flushed.set()
            finishing.wait(1)
        connection.close()

    late = threading.Thread(target=flush)
    late.start()
    assert flushed.wait(10)
    finish_pack(FileLayer(), pack)
    finishing.set()
    late.join(10)
    ids = [digest(one) for one in payloads]
    assert missing_ids(stage.vault.number, ids) == set()
    found = {one.id: one.record for one in PackReader(stage.vault.number).read(ids)}
    assert {one: record and record.sealed for one, record in found.items()} == dict(zip(ids, payloads, strict=True))


@pytest.mark.defence
def test_pack_that_was_sealed_and_placed_after_all_is_left_alone(stage, open_pack):
    _, pack, _, payloads = open_pack
    finish_pack(FileLayer(), pack)
    verify_pack(pack.pack_id)
    deduplicate_pack(pack.pack_id)
    finish_pack(FileLayer(), pack)
    row = Pack.objects.get()
    assert (row.state, row.place) == (PackState.VERIFIED, PackPlace.TARGET)
    assert missing_ids(stage.vault.number, [digest(payloads[0])]) == set()


def test_pack_whose_row_was_written_although_the_answer_was_lost_is_finished(gateway_factory, stage, monkeypatch):
    real, machine = arrivals.open_pack, stage.machine()

    def open_and_lose(*arguments, **named):
        real(*arguments, **named)
        raise OperationalError("the connection is lost")

    gateway = gateway_factory(limits=GatewayLimits(retry_seconds=0.1))
    with monkeypatch.context() as patch, AgentPeer(gateway, machine) as agent:
        patch.setattr(arrivals, "open_pack", open_and_lose)
        agent.begin()
        agent.put(b"one")
        with pytest.raises(Failed):
            agent.flush()
    with tenant_scope(stage.vault.tenant_id):
        wait_until(lambda: not Pack.objects.filter(state=PackState.OPEN).exists())
