"""What a dead gateway left: torn tails, bytes without rows, rows without bytes, crashes between any two steps."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_platform.audit.models import Entry
from backup_platform.catalog import arrivals, sessions
from backup_platform.catalog.deduplication import deduplicate_pack
from backup_platform.catalog.models import Pack, PackPlace, PackState, Wanted
from backup_platform.catalog.present import missing_ids
from backup_platform.catalog.reading import PackReader
from backup_platform.gateway.errors import PackDead
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.finishing import UnfinishedPack, compare, finish_pack
from backup_platform.gateway.pack_writer import PackWriter, Record
from backup_platform.gateway.recovery import recover_spool, take_spool
from backup_platform.gateway.spool import Spool, create_spool, orphan_spools, spool_root, try_spool
from backup_platform.jobs.models import Job
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.packs import IndexEntry, read_index
from tests.gateway.agent_peer import digest
from tests.gateway.faulty_files import EIO, BreakableFileLayer, RecordingFileLayer
from tests.gateway.stage import Stage


@dataclass
class Left:
    """An open pack as a killed gateway leaves it."""

    spool: Spool
    pack: Pack
    path: Path
    acknowledged: list[bytes]
    entries: list[IndexEntry]

    @property
    def sealed(self) -> Path:
        return self.path.with_suffix(".pack")

    def present(self, payloads: list[bytes]) -> set[bytes]:
        ids = [digest(one) for one in payloads]
        with tenant_scope(self.pack.tenant_id):
            return set(ids) - missing_ids(self.pack.vault.number, ids)

    def reload(self) -> Pack:
        with tenant_scope(self.pack.tenant_id):
            return Pack.objects.select_related("vault").get(pk=self.pack.pk)


@pytest.fixture
def stage(db, strongroom_home, tmp_path) -> Stage:
    """No gateway runs here: one thread, one transaction."""
    return Stage(tmp_path / "machines")


def records_of(payloads: list[bytes]) -> list[Record]:
    return [Record(1, digest(one), digest(one), one) for one in payloads]


@pytest.fixture
def leave(stage, strongroom_home):
    """Make an open pack with acknowledged records, and then some whose rows were never written."""
    spool = create_spool(spool_root(strongroom_home), FileLayer())

    def make(count: int = 4, unacknowledged: int = 0) -> Left:
        machine, files = stage.machine("left"), FileLayer()
        payloads = [os.urandom(3000) for _ in range(count)]
        with tenant_scope(stage.vault.tenant_id):
            begun = sessions.begin_session(machine.row, spool.name)
            pack = arrivals.open_pack(begun.session, begun.fence, uid=uuid4(), spool=spool.name)
            path = UnfinishedPack.of(pack, spool.directory).path.with_suffix(".open")
            writer = PackWriter(files, stage.vault.pk, pack.uid, path)
            entries = writer.append(records_of(payloads)) if payloads else []
            writer.sync()
            rows = [arrivals.Arrival(one.kind, one.id, one.offset, one.length) for one in entries]
            arrivals.record_arrivals(begun.session, begun.fence, pack.pk, rows)
            writer.append(records_of([os.urandom(500) for _ in range(unacknowledged)]))
        writer.close()
        return Left(spool, pack, path, payloads, entries)

    yield make
    spool.release()


def check_sealed(left: Left) -> None:
    """The pack is whole, and holds what was acknowledged and nothing else."""
    row, data = left.reload(), left.sealed.read_bytes()
    assert (row.state, row.path.rsplit(".")[-1]) == (PackState.SEALED, "pack")
    assert (bytes(row.digest), row.bytes, row.records) == (digest(data), len(data), len(left.acknowledged))
    index = read_index(lambda offset, length: data[offset : offset + length], len(data))
    assert [entry.id for entry in index] == [digest(one) for one in left.acknowledged]
    with tenant_scope(row.tenant_id):
        found = {one.id: one.record for one in PackReader(row.vault.number).read([entry.id for entry in index])}
    assert {one: record.sealed for one, record in found.items()} == {digest(one): one for one in left.acknowledged}
    assert sorted(path.suffix for path in left.spool.directory.iterdir()) == ["", ".pack"]


def test_open_pack_is_sealed_with_what_was_acknowledged(leave):
    left = leave(4, unacknowledged=2)
    assert recover_spool(FileLayer(), left.spool) == []
    check_sealed(left)


def test_torn_tail_is_dropped(leave):
    left = leave(3, unacknowledged=1)
    with left.path.open("r+b") as file:
        file.truncate(left.path.stat().st_size - 100)
    recover_spool(FileLayer(), left.spool)
    check_sealed(left)


def test_tail_of_zeros_is_dropped(leave):
    """What ext4 may leave of an append that the power cut."""
    left = leave(3)
    with left.path.open("ab") as file:
        file.write(bytes(5000))
    recover_spool(FileLayer(), left.spool)
    check_sealed(left)


def test_recovery_may_be_repeated(leave):
    left = leave(2, unacknowledged=1)
    for _ in range(3):
        recover_spool(FileLayer(), left.spool)
    check_sealed(left)


def test_pack_without_acknowledged_records_is_discarded(leave):
    left = leave(0, unacknowledged=3)
    recover_spool(FileLayer(), left.spool)
    with tenant_scope(left.pack.tenant_id):
        assert not Pack.objects.filter(pk=left.pack.pk).exists()
    assert [path.name for path in left.spool.directory.iterdir()] == ["lock"]


def test_row_without_bytes_is_reported_and_the_rest_is_saved(leave):
    left = leave(4)
    third = left.entries[2]
    with left.path.open("r+b") as file:
        file.truncate(third.offset + 10)
    recover_spool(FileLayer(), left.spool)
    saved, lost = left.acknowledged[:2], left.acknowledged[2:]
    assert left.present(left.acknowledged) == {digest(one) for one in saved}
    with tenant_scope(left.pack.tenant_id):
        assert {bytes(one) for one in Wanted.objects.values_list("chunk_id", flat=True)} == {digest(o) for o in lost}
        assert Entry.objects.filter(verb="pack.loss_found").count() == 1
    row = left.reload()
    assert (row.state, row.records) == (PackState.SEALED, 2)
    assert "2 records" in row.fault
    assert left.path.with_suffix(".damaged").exists(), "the evidence is set aside, not removed"


def test_pack_that_is_gone_is_reported_and_marked_lost(leave):
    left = leave(3)
    left.path.unlink()
    recover_spool(FileLayer(), left.spool)
    row = left.reload()
    assert (row.state, row.place) == (PackState.DAMAGED, PackPlace.LOST)
    assert left.present(left.acknowledged) == set()
    recover_spool(FileLayer(), left.spool)


def test_bit_rot_in_an_acknowledged_record_is_not_sealed_over(leave):
    left = leave(3)
    with left.path.open("r+b") as file:
        file.seek(left.entries[1].offset + 5)
        file.write(b"\xff\x00\xff")
    recover_spool(FileLayer(), left.spool)
    assert left.present(left.acknowledged) == {digest(left.acknowledged[0]), digest(left.acknowledged[2])}


@pytest.mark.parametrize("step", ["create", "write", "fdatasync", "rename", "fsync_directory", "row", "unlink"])
def test_crash_at_any_step_of_recovery_is_recovered_from(leave, monkeypatch, step):
    left = leave(3, unacknowledged=1)

    class Crash(Exception):
        pass

    def crash(*arguments, **keywords):
        raise Crash

    with monkeypatch.context() as patch:
        if step == "row":
            patch.setattr(arrivals, "seal_pack", crash)
        else:
            patch.setattr(FileLayer, step, crash)
        with pytest.raises(Crash):
            recover_spool(FileLayer(), left.spool)
    assert left.present(left.acknowledged) == {digest(one) for one in left.acknowledged}
    recover_spool(FileLayer(), left.spool)
    check_sealed(left)


def test_pack_that_the_disk_does_not_let_finish_is_kept_for_later(leave):
    left, files = leave(3), BreakableFileLayer()
    files.broken["write"] = EIO
    [unfinished] = recover_spool(files, left.spool)
    assert left.path.exists()
    with pytest.raises(PackDead):
        finish_pack(files, unfinished)
    files.broken.clear()
    finish_pack(files, unfinished)
    recover_spool(files, left.spool)
    check_sealed(left)


def test_open_file_that_no_row_knows_is_set_aside_not_removed(leave):
    left = leave(1)
    stranger = left.spool.directory / f"{uuid4().hex}.open"
    stranger.write_bytes(left.path.read_bytes())
    draft = left.spool.directory / f"{uuid4().hex}.new"
    draft.write_bytes(b"half")
    recover_spool(FileLayer(), left.spool)
    assert not stranger.exists()
    assert stranger.with_suffix(".damaged").exists()
    assert not draft.exists()


def test_spool_of_a_living_gateway_is_left_alone(strongroom_home, db):
    root = spool_root(strongroom_home)
    held = create_spool(root, FileLayer())
    own, others, unfinished = take_spool(FileLayer(), root)
    assert own.name != held.name
    assert (others, unfinished) == ([], [])
    assert list(orphan_spools(root)) == []
    held.release()
    assert [spool.name for spool in orphan_spools(root)] == [held.name]
    assert try_spool(root, own.name) is None
    own.release()


def test_every_orphan_is_recovered_and_one_is_taken(leave, strongroom_home):
    left = leave(2)
    left.spool.release()
    second = create_spool(spool_root(strongroom_home), FileLayer())
    second.release()
    own, others, unfinished = take_spool(FileLayer(), spool_root(strongroom_home))
    assert own.name == min(left.spool.name, second.name)
    assert (others, unfinished) == ([], [])
    check_sealed(left)
    own.release()


def crash_at(monkeypatch, step: str, recover, *, after: int = 0) -> None:
    """Run `recover` with the given call of the file layer failing as a killed process does."""

    class Crash(Exception):
        pass

    left = [after]
    real = getattr(FileLayer, step)

    def crash(*arguments):
        if not left[0]:
            raise Crash
        left[0] -= 1
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FileLayer, step, crash)
        with pytest.raises(Crash):
            recover()


@pytest.mark.defence
def test_name_that_a_crash_left_undurable_is_synced_before_the_row_says_sealed(leave, monkeypatch):
    left = leave(3)
    crash_at(monkeypatch, "fsync_directory", lambda: recover_spool(FileLayer(), left.spool))
    assert left.sealed.exists()
    log: list[str] = []
    seal = arrivals.seal_pack

    def note_and_seal(*arguments):
        log.append("row")
        seal(*arguments)

    monkeypatch.setattr(arrivals, "seal_pack", note_and_seal)
    recover_spool(RecordingFileLayer(log), left.spool)
    assert log[:2] == ["fsync directory", "row"]
    check_sealed(left)


@pytest.mark.defence
def test_rename_that_the_power_took_back_is_done_again_and_nothing_is_removed(leave):
    """The row says sealed, the directory still has the old name: the only copy must not be tidied away."""
    left = leave(3)
    recover_spool(FileLayer(), left.spool)
    left.sealed.rename(left.path)
    recover_spool(FileLayer(), left.spool)
    check_sealed(left)


def test_open_file_beside_a_sealed_row_that_is_not_its_pack_is_set_aside(leave):
    left = leave(3)
    recover_spool(FileLayer(), left.spool)
    left.sealed.unlink()
    left.path.write_bytes(b"something else")
    recover_spool(FileLayer(), left.spool)
    assert left.path.with_suffix(".damaged").read_bytes() == b"something else"


def test_sealed_file_whose_index_is_damaged_is_finished_from_its_records(leave, monkeypatch):
    left = leave(3)
    crash_at(monkeypatch, "fsync_directory", lambda: recover_spool(FileLayer(), left.spool))
    left.path.unlink()
    with left.sealed.open("r+b") as file:
        file.seek(-60, os.SEEK_END)
        file.write(b"\xff\xff\xff")
    recover_spool(FileLayer(), left.spool)
    check_sealed(left)


@pytest.mark.parametrize("step", ["fsync_directory", "unlink", "create", "write", "rename"])
def test_evidence_of_a_loss_survives_a_crash(leave, monkeypatch, step):
    left = leave(4)
    with left.path.open("r+b") as file:
        file.seek(left.entries[1].offset + 5)
        file.write(b"\xff\x00\xff")
    whole = left.path.read_bytes()
    crash_at(monkeypatch, step, lambda: recover_spool(FileLayer(), left.spool))
    recover_spool(FileLayer(), left.spool)
    assert left.path.with_suffix(".damaged").read_bytes() == whole
    assert left.reload().state == PackState.SEALED
    assert left.present(left.acknowledged) == {digest(one) for n, one in enumerate(left.acknowledged) if n != 1}


def test_pack_that_was_lost_does_not_keep_its_snapshots_waiting(leave):
    left = leave(2)
    left.path.unlink()
    recover_spool(FileLayer(), left.spool)
    with tenant_scope(left.pack.tenant_id):
        assert Job.objects.filter(kind="deduplicate", subject=f"pack:{left.pack.pk}").exists()
        deduplicate_pack(left.pack.pk)
    assert left.reload().deduplicated_at is not None


entries = st.lists(st.integers(1, 50), max_size=12).map(
    lambda lengths: [
        IndexEntry(1, number.to_bytes(32, "big"), 100 + sum(lengths[:number]), length, bytes(32))
        for number, length in enumerate(lengths)
    ]
)


@given(entries, st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_comparison_keeps_a_beginning_and_loses_exactly_the_rows_beyond_it(found, data):
    acknowledged = data.draw(st.integers(0, len(found)))
    readable = data.draw(st.integers(0, len(found)))
    rows = [arrivals.Arrival(one.kind, one.id, one.offset, one.length) for one in found[:acknowledged]]
    result = compare(found[:readable], rows)
    assert result.kept == found[: min(acknowledged, readable)]
    assert result.lost == [row.id for row in rows[readable:]]
    assert result.unacknowledged == max(0, readable - acknowledged)


def test_pack_that_nobody_can_finish_does_not_keep_the_gateway_from_starting(leave, monkeypatch):
    left = leave(2)

    def refuse(*arguments):
        raise ValueError("unheard of")

    with monkeypatch.context() as patch:
        patch.setattr(arrivals, "seal_pack", refuse)
        [unfinished] = recover_spool(FileLayer(), left.spool)
    finish_pack(FileLayer(), unfinished)
    check_sealed(left)
