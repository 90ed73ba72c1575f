"""A pack that rots while it is still open: what is whole in it is kept, wherever it lies, and what is not is named."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from uuid import uuid4

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.catalog.arrivals import Arrival
from backup_platform.catalog.deduplication import deduplicate_pack
from backup_platform.catalog.models import Pack, PackState, Wanted
from backup_platform.catalog.reading import PackReader
from backup_platform.catalog.verification import verify_pack
from backup_platform.gateway import finishing
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.finishing import compare
from backup_platform.gateway.pack_writer import PackWriter, Record
from backup_platform.gateway.recovery import recover_spool
from backup_platform.gateway.resync import fill, scan
from backup_platform.tenants.scope import tenant_scope
from protocol.stored import packs
from protocol.stored.chunks import MAX_SEALED
from protocol.stored.packs import PACK_HEADER_SIZE, RECORD_HEADER_SIZE, IndexEntry, read_index
from tests.gateway.agent_peer import digest
from tests.gateway.test_recovery import Left, crash_at, leave, stage

__all__ = ["leave", "stage"]

HEAD = RECORD_HEADER_SIZE
FULL = HEAD + MAX_SEALED
"""The longest record."""
COUNT = 6


def rot(path: Path, at: int) -> None:
    """Turn a byte of a file round."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0xFF]))


def check_kept(left: Left, rotten: set[int]) -> None:
    """Everything but the rotten ones is present, at its place, and reads back; the rotten ones are wanted again."""
    whole = [content for number, content in enumerate(left.acknowledged) if number not in rotten]
    lost = {digest(left.acknowledged[number]) for number in rotten}
    assert left.present(left.acknowledged) == {digest(content) for content in whole}
    row, data = left.reload(), left.sealed.read_bytes()
    index = read_index(lambda offset, length: data[offset : offset + length], len(data))
    offsets = {entry.id: entry.offset for entry in index}
    assert lost.isdisjoint(offsets), "what is lost is not listed"
    assert all(offsets[entry.id] == entry.offset for n, entry in enumerate(left.entries) if n not in rotten)
    assert (row.state, row.records) == (PackState.SEALED, len(index))
    assert f"{len(rotten)} records" in row.fault
    with tenant_scope(row.tenant_id):
        assert {bytes(one) for one in Wanted.objects.values_list("chunk_id", flat=True)} == lost
        assert verify_pack(row.pk).intact
        deduplicate_pack(row.pk)
        for found in PackReader(row.vault.number).read([digest(content) for content in whole]):
            assert found.record is not None
            assert digest(found.record.sealed) == found.id
        assert Pack.objects.get(pk=row.pk).state == PackState.VERIFIED


@pytest.mark.defence
@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.parametrize("part", ["kind", "id", "length", "digest", "sealed"])
def test_rotten_record_costs_nothing_but_itself(leave, number: int, part: str):
    left = leave(COUNT, unacknowledged=1)
    start = left.entries[number].offset
    whole = left.path.read_bytes()
    rot(left.path, {"kind": start - HEAD, "id": start - HEAD + 5, "length": start - HEAD + 33,
                    "digest": start - 3, "sealed": start + 100}[part])  # fmt: skip
    rotten = left.path.read_bytes()
    assert recover_spool(FileLayer(), left.spool) == []
    check_kept(left, {number})
    assert left.path.with_suffix(".damaged").read_bytes() == rotten != whole


def test_several_rotten_records_cost_nothing_but_themselves(leave):
    left = leave(COUNT)
    for number in (0, 2, 3):
        rot(left.path, left.entries[number].offset + 7)
    recover_spool(FileLayer(), left.spool)
    check_kept(left, {0, 2, 3})


def test_rot_in_the_packs_own_head_costs_nothing(leave):
    left = leave(COUNT)
    rot(left.path, 3)
    recover_spool(FileLayer(), left.spool)
    assert left.present(left.acknowledged) == {digest(content) for content in left.acknowledged}
    with tenant_scope(left.pack.tenant_id):
        assert verify_pack(left.pack.pk).intact
        assert not Wanted.objects.exists()


@pytest.mark.parametrize("step", ["create", "write", "fdatasync", "rename", "fsync_directory", "unlink"])
def test_crash_at_any_step_beside_a_rotten_record_is_gone_on_from(leave, monkeypatch, step: str):
    left = leave(COUNT, unacknowledged=1)
    rot(left.path, left.entries[1].offset + 5)
    crash_at(monkeypatch, step, lambda: recover_spool(FileLayer(), left.spool))
    recover_spool(FileLayer(), left.spool)
    check_kept(left, {1})


class Sectors:
    """A disk of which parts cannot be read: stands in for `os.pread`."""

    def __init__(self, *bad: range) -> None:
        self.bad = bad
        self.real = os.pread

    def __call__(self, fd: int, length: int, offset: int) -> bytes:
        if any(offset < one.stop and offset + length > one.start for one in self.bad):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.real(fd, length, offset)


def test_unreadable_sector_costs_what_lies_on_it(leave, monkeypatch):
    left = leave(COUNT)
    start = left.entries[2].offset
    with monkeypatch.context() as patch:
        patch.setattr(finishing.os, "pread", Sectors(range(start + 512, start + 1024)))
        assert recover_spool(FileLayer(), left.spool) == []
    check_kept(left, {2})


@pytest.mark.defence
def test_disk_that_gives_nothing_has_said_nothing(leave, monkeypatch):
    """All of it unreadable is a disk that is away: the pack stays open, nothing is reported, and it is tried again."""
    left = leave(COUNT)
    with monkeypatch.context() as patch:
        patch.setattr(finishing.os, "pread", Sectors(range(1 << 40)))
        unfinished = recover_spool(FileLayer(), left.spool)
    assert len(unfinished) == 1
    assert left.present(left.acknowledged) == {digest(content) for content in left.acknowledged}
    with tenant_scope(left.pack.tenant_id):
        assert not Wanted.objects.exists()
    assert left.reload().state == PackState.OPEN
    finishing.finish_pack(FileLayer(), unfinished[0])
    assert left.reload().state == PackState.SEALED


records = st.lists(st.integers(1, 60), min_size=1, max_size=10)


@given(records, st.data())
def test_any_rot_costs_exactly_the_records_that_it_hits(lengths: list[int], data):
    """Against a model: a record is kept if it is whole and a later or the same one was acknowledged."""
    content, entries = packs.encode_pack_header(b"v" * 16, b"p" * 16), []
    for number, length in enumerate(lengths):
        sealed = bytes([number]) * length
        head = packs.encode_record_header(1, blake3(bytes([number, 1])).digest(), length, blake3(sealed).digest())
        offset = len(content) + HEAD
        entries.append(IndexEntry(1, blake3(bytes([number, 1])).digest(), offset, length, blake3(sealed).digest()))
        content += head + sealed
    acknowledged = data.draw(st.integers(0, len(entries)))
    rotten = data.draw(st.sets(st.integers(0, acknowledged - 1))) if acknowledged else set()
    spoilt = bytearray(content)
    for number in rotten:
        at = data.draw(st.integers(entries[number].offset - HEAD, entries[number].offset + lengths[number] - 1))
        spoilt[at] ^= 1 << data.draw(st.integers(0, 7))
    rows = [Arrival(entry.kind, entry.id, entry.offset, entry.length) for entry in entries[:acknowledged]]
    found = scan(lambda offset, length: bytes(spoilt[offset : offset + length]), len(spoilt), rows)
    compared = compare(found, rows)
    assert compared.kept == [entry for number, entry in enumerate(entries[:acknowledged]) if number not in rotten]
    assert compared.lost == [row.id for number, row in enumerate(rows) if number in rotten]


@pytest.mark.parametrize("room", [HEAD + 1, 2 * HEAD, *(FULL + more for more in (0, 1, 2, HEAD, HEAD + 1, FULL + 5))])
def test_any_room_is_filled_with_records_that_follow_each_other(tmp_path: Path, room: int):
    writer = PackWriter(FileLayer(), uuid4(), uuid4(), tmp_path / "pack.new")
    fill(writer, PACK_HEADER_SIZE + room)
    assert writer.size == PACK_HEADER_SIZE + room
    content = b"what follows"
    [entry] = writer.append([Record(1, digest(content), digest(content), content)])
    assert entry.offset == PACK_HEADER_SIZE + room + HEAD
    writer.seal()
    data = (tmp_path / "pack.pack").read_bytes()
    index = read_index(lambda offset, length: data[offset : offset + length], len(data))
    assert index[-1] == entry


def test_rows_that_cannot_be_are_refused(tmp_path: Path):
    writer = PackWriter(FileLayer(), uuid4(), uuid4(), tmp_path / "pack.new")
    with pytest.raises(ValueError, match="over each other"):
        fill(writer, PACK_HEADER_SIZE + HEAD)
    writer.close()
