"""Re-reading a pack: every record's digest, the index, the trailer, and the whole against the catalogue's row.

The whole digest decides. Where it does not match, each record that the catalogue knows is looked at for itself, so that
the good ones go on. A pack that differs although no part of it is damaged is not our pack: nothing in it is believed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import UnsupportedOperation
from typing import BinaryIO
from uuid import UUID

from blake3 import blake3

from backup_platform.catalog.present import Place
from backup_platform.catalog.reading import is_of_the_medium, read_record
from backup_platform.catalog.remote_files import unavailable
from protocol.stored.errors import FormatError
from protocol.stored.packs import (
    PACK_HEADER_SIZE,
    RECORD_HEADER_SIZE,
    IndexEntry,
    decode_pack_header,
    decode_record_header,
    read_index,
)

READ_SIZE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Expected:
    """What the catalogue says about a pack: its file's size and BLAKE3, and the records that it should hold."""

    vault_id: UUID
    uid: UUID
    size: int
    digest: bytes
    records: list[tuple[bytes, Place]]


@dataclass(frozen=True, slots=True)
class PackReport:
    """What re-reading found. `bad` are the ids and offsets of records of the catalogue that are not intact.

    `outgrown`: the damage lies only in records that the catalogue does not look for here any more (they were healed).
    """

    fault: str = ""
    bad: frozenset[tuple[bytes, int]] = field(default_factory=frozenset)
    outgrown: bool = False

    @property
    def intact(self) -> bool:
        return not self.fault


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass over a file. `framed`: header, index and trailer are in order."""

    size: int
    digest: bytes = b""
    fault: str = ""
    framed: bool = True


def check_pack(file: BinaryIO, expected: Expected) -> PackReport:
    """Read a whole pack from the disk, in order, and compare. Memory: one record, and the index.

    Unreadable sectors are damage of what lies on them; RecordUnavailable when the disk has gone away. The page cache is
    dropped before and after, so that the disk answers and nobody's hot pages are pushed out.
    """
    drop_cached_pages(file)
    try:
        found = _read_through(file, expected)
        if found.digest == expected.digest and found.size == expected.size and not found.fault:
            strangers = _not_in_index(file, found.size, expected)
            return PackReport("Records of the catalogue are not in it." if strangers else "", strangers)
        return _look_at_each(file, expected, found)
    finally:
        drop_cached_pages(file)


def drop_cached_pages(file: BinaryIO) -> None:
    """Make the next read of this file ask the disk, where the file is one of the operating system's."""
    try:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except (OSError, UnsupportedOperation, AttributeError):
        return  # a file in memory, or a system without such advice: then the bytes come from where they are


def _read_through(file: BinaryIO, expected: Expected) -> _Pass:
    size = file.seek(0, os.SEEK_END)
    try:
        entries = _index(file, size, expected)
    except (FormatError, OSError) as fault:
        return _Pass(size, fault=_say(fault), framed=False)
    whole = blake3()
    try:
        whole.update(_read(file, 0, PACK_HEADER_SIZE))
        end = PACK_HEADER_SIZE
        longest = RECORD_HEADER_SIZE + max((entry.length for entry in entries), default=0)
        room = memoryview(bytearray(min(longest, size)))
        for entry in entries:
            data = _read_into(file, end, room[: RECORD_HEADER_SIZE + entry.length])
            whole.update(data)
            if not _agrees(data, entry):
                return _Pass(size, fault="A record does not match its digest.")
            end = entry.offset + entry.length
        for piece in _pieces(file, end, size):
            whole.update(piece)
    except OSError as fault:
        return _Pass(size, fault=_say(fault))
    return _Pass(size, whole.digest())


def _index(file: BinaryIO, size: int, expected: Expected) -> list[IndexEntry]:
    header = decode_pack_header(_read(file, 0, PACK_HEADER_SIZE))
    if header.vault_id != expected.vault_id.bytes or header.pack_uid != expected.uid.bytes:
        raise FormatError("pack", "is another pack: its header names another vault or id")
    return read_index(lambda offset, length: _read(file, offset, length), size)


def _agrees(data: memoryview, entry: IndexEntry) -> bool:
    try:
        header = decode_record_header(bytes(data[:RECORD_HEADER_SIZE]))
    except FormatError:
        return False
    same = (header.kind, header.id, header.length, header.digest) == (entry.kind, entry.id, entry.length, entry.digest)
    return same and blake3(data[RECORD_HEADER_SIZE:]).digest() == entry.digest


def _not_in_index(file: BinaryIO, size: int, expected: Expected) -> frozenset[tuple[bytes, int]]:
    held = {(entry.id, entry.offset, entry.length) for entry in _index(file, size, expected)}
    places = expected.records
    return frozenset((i, place.offset) for i, place in places if (i, place.offset, place.length) not in held)


def _look_at_each(file: BinaryIO, expected: Expected, found: _Pass) -> PackReport:
    """Find out which known records are intact in a pack that is not."""
    if not found.fault:
        # Every part is in order and the whole is not what was written: somebody made this file.
        everything = frozenset((record_id, place.offset) for record_id, place in expected.records)
        return PackReport("Another file was put in its place.", everything)
    bad = frozenset(
        (record_id, place.offset)
        for record_id, place in expected.records
        if read_record(file, record_id, place) is None
    )
    return PackReport(found.fault, bad, outgrown=found.framed and not bad)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    try:
        file.seek(offset)
        return file.read(length)
    except OSError as fault:
        if is_of_the_medium(fault):
            raise
        raise unavailable(fault) from fault


def _read_into(file: BinaryIO, offset: int, room: memoryview) -> memoryview:
    """As `_read`, into memory that is used again: new pages for each record cost as much as reading it."""
    try:
        file.seek(offset)
        return room[: file.readinto(room)]  # type: ignore[attr-defined]
    except OSError as fault:
        if is_of_the_medium(fault):
            raise
        raise unavailable(fault) from fault


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end, READ_SIZE):
        yield _read(file, offset, min(READ_SIZE, end - offset))


def _say(fault: Exception) -> str:
    return "Parts of it cannot be read from the disk." if isinstance(fault, OSError) else f"{fault}."
