"""Reading sealed records from wherever their packs are: by digest, and looked up again before damage is spoken of."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID

from blake3 import blake3

from backup_platform.catalog.chunk_index import batches
from backup_platform.catalog.errors import RecordCold, RecordLost, RecordUnavailable
from backup_platform.catalog.models import Pack
from backup_platform.catalog.pack_files import PackGone, open_copy, open_local_file, open_pack_file, openings
from backup_platform.catalog.present import MAX_QUESTION, Place, find_all_places, find_places, find_spares
from backup_platform.catalog.remote_files import unavailable
from backup_platform.tenants.scope import current_tenant_id
from protocol.stored.blocks import block_id
from protocol.stored.errors import FormatError
from protocol.stored.packs import RECORD_HEADER_SIZE, RecordKind, decode_record_header

__all__ = ["Found", "PackGone", "PackReader", "Record", "is_block", "is_of_the_medium", "open_copy", "open_local_file",
           "open_pack_file", "read_copy", "read_record"]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed record whose bytes match their digest (BLAKE3)."""

    kind: int
    id: bytes
    digest: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Found:
    """What became of one id: its record, or None when no place holds its right bytes."""

    id: bytes
    record: Record | None


class PackReader:
    """Reads records of one vault, in the tenant scope in force. Holds one file and one record at a time."""

    def __init__(self, vault_number: int, accept: Callable[[Record], bool] = lambda record: True) -> None:
        """`accept`: what a record must satisfy besides being intact; copies that do not are passed over."""
        self.vault_number = vault_number
        self._accept = accept

    def read(self, ids: Sequence[bytes]) -> Iterator[Found]:
        """Every id once, in the order of their places on disk. Raises RecordUnavailable when a store is away."""
        for batch in batches(ids, MAX_QUESTION):
            yield from self.read_at(batch, find_places(self.vault_number, batch))

    def read_one(self, record_id: bytes) -> Record:
        """One record; RecordLost when no place holds its right bytes, RecordUnavailable when a store is away."""
        for found in self.read([record_id]):
            if found.record is not None:
                return found.record
        raise RecordLost(record_id)

    def read_at(self, ids: Sequence[bytes], places: Mapping[bytes, Place]) -> Iterator[Found]:
        """As `read`, for at most 4,096 ids whose places were looked up a moment ago; ids without one are looked up."""
        troubled = [record_id for record_id in dict.fromkeys(ids) if record_id not in places]
        with ExitStack() as stack:
            pack_id, file = 0, None
            here = [(record_id, places[record_id]) for record_id in dict.fromkeys(ids) if record_id in places]
            for record_id, place in sorted(here, key=lambda item: (item[1].pack_id, item[1].offset)):
                if place.pack_id != pack_id:
                    stack.close()
                    pack_id, file = place.pack_id, _open_or_none(place.pack_id)
                    if file is not None:
                        stack.callback(file.close)
                record = read_record(file, record_id, place) if file is not None else None
                if record is None or not self._accept(record):
                    troubled.append(record_id)
                else:
                    yield Found(record_id, record)
        for record_id in troubled:
            yield Found(record_id, self._search(record_id))

    def _search(self, record_id: bytes) -> Record | None:
        """Look an id up afresh and try every copy that there is, spares last."""
        copies = find_all_places(self.vault_number, [record_id]) + find_spares(self.vault_number, [record_id])
        for _, place in copies:
            record = read_copy(record_id, place)
            if record is not None and self._accept(record):
                return record
        return None


def is_block(record: Record) -> bool:
    """Whether a record is the reference block that its id names: anybody may store a chunk under a block's id."""
    return record.kind == RecordKind.REFERENCE_BLOCK and block_id(record.sealed) == record.id


def read_record(file: BinaryIO, record_id: bytes, place: Place) -> Record | None:
    """The record at a place of an open pack file, or None unless header, length and digest are right."""
    try:
        file.seek(place.offset - RECORD_HEADER_SIZE)
        head = file.read(RECORD_HEADER_SIZE)
        sealed = file.read(place.length)  # apart from its header: to cut it off would copy a mebibyte
    except OSError as fault:
        if not is_of_the_medium(fault):
            raise unavailable(fault) from fault
        return None  # an unreadable sector is damage of this record; other records of the file may be whole
    try:
        header = decode_record_header(head)
    except FormatError:
        return None
    same = header.id == record_id and header.length == place.length == len(sealed)
    if not same or place.kind not in (0, header.kind) or blake3(sealed).digest() != header.digest:
        return None
    return Record(header.kind, record_id, header.digest, sealed)


def is_of_the_medium(fault: OSError) -> bool:
    """Whether a failed read says that these bytes are damaged; a disk or server that went away says nothing."""
    return fault.errno in (errno.EIO, errno.ENODATA, errno.EUCLEAN, errno.EBADMSG)


def read_copy(record_id: bytes, place: Place) -> Record | None:
    """The record of a certain pack, from any place of it; None when none is intact. RecordUnavailable if unknown.

    Each place is read by itself, past the cache: who asks has found something wrong before.
    """
    pack = Pack.objects.filter(pk=place.pack_id).first()
    return None if pack is None else _from_any_place(pack, record_id, place)


def _from_any_place(pack: Pack, record_id: bytes, place: Place) -> Record | None:
    away: RecordUnavailable | None = None
    for opening in openings(pack):
        try:
            with opening() as file:
                record = read_record(file, record_id, place)
        except PackGone:
            continue
        except RecordUnavailable as fault:
            away = away if isinstance(away, RecordCold) else fault  # that one place is cold is worth knowing
            continue
        if record is not None:
            return record
    if away is not None:
        raise away
    return None


ROW_SECONDS = 2.0
MAX_ROWS = 1_000
_rows: dict[tuple[UUID | None, int], tuple[float, Pack]] = {}
"""Rows of packs that were read a moment ago. A restore asks for its chunks a few at a time, mostly of the same pack."""


def _open_or_none(pack_id: int) -> BinaryIO | None:
    """A pack's file, by its row of a moment ago, or by its row of now if the file is not there (any more)."""
    key = (current_tenant_id(), pack_id)
    at, pack = _rows.get(key, (0.0, None))
    if pack is not None and time.monotonic() - at < ROW_SECONDS:
        try:
            return open_pack_file(pack)
        except PackGone:
            _rows.pop(key, None)
    pack = Pack.objects.filter(pk=pack_id).first()
    if pack is None:
        return None
    try:
        file = open_pack_file(pack)
    except PackGone:
        return None
    if len(_rows) >= MAX_ROWS:
        _rows.clear()
    _rows[key] = (time.monotonic(), pack)
    return file
