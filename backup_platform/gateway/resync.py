"""Finding what is whole in an open pack that has rotted, and keeping everything at its offset.

Where a record does not match its digest, nothing in the file says where the next one begins: its length may be what
rotted. The arrival rows do: each names the offset of a record that was acknowledged (docs/decisions/0165).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence

from blake3 import blake3

from backup_platform.catalog.arrivals import Arrival
from backup_platform.catalog.reading import is_of_the_medium
from backup_platform.gateway.pack_writer import PackWriter, Record
from protocol.stored.chunks import MAX_SEALED
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.packs import PACK_HEADER_SIZE, RECORD_HEADER_SIZE, IndexEntry, RecordKind, decode_record_header

ReadAt = Callable[[int, int], bytes]
"""Reads so many bytes at an offset; fewer at the end of the file. OSError when the disk does not give them."""


def scan(read_at: ReadAt, size: int, rows: Sequence[Arrival]) -> list[IndexEntry]:
    """The whole records of an open pack, in order. From one that is rotten, torn or unreadable it goes on at the next
    place where a row (`rows`) says that a record begins; behind the last row such a one ends it.

    OSError when the disk gave nothing at all: then it is away, and nothing is said about what it holds.
    """
    known = {row.offset - RECORD_HEADER_SIZE: row for row in rows}
    starts = sorted(known)
    found: list[IndexEntry] = []
    faults: list[OSError] = []
    at = PACK_HEADER_SIZE
    while at + RECORD_HEADER_SIZE <= size:
        entry = _record_at(read_at, at, known.get(at), faults)
        if entry is not None:
            found.append(entry)
            at = entry.offset + entry.length
            continue
        later = bisect_right(starts, at)
        if later == len(starts):
            break
        at = starts[later]
    if faults and not found:
        raise faults[0]
    return found


def _record_at(read_at: ReadAt, at: int, row: Arrival | None, faults: list[OSError]) -> IndexEntry | None:
    """The record whose head is there, if it is whole and what its row says, where it has one."""
    try:
        header = decode_record_header(read_at(at, RECORD_HEADER_SIZE))
        sealed = read_at(at + RECORD_HEADER_SIZE, header.length)
    except FormatError:
        return None
    except OSError as fault:
        if not is_of_the_medium(fault):
            raise
        faults.append(fault)
        return None
    if len(sealed) != header.length or blake3(sealed).digest() != header.digest:
        return None
    if row is not None and (header.kind, header.id, header.length) != (row.kind, row.id, row.length):
        return None
    return IndexEntry(header.kind, header.id, at + RECORD_HEADER_SIZE, header.length, header.digest)


def fill(writer: PackWriter, to: int) -> None:
    """Bring a new pack to an offset by records that nobody can ask for, in place of those that are not whole.

    Their ids are random and their bytes zero; no row names them, so compaction leaves them behind.
    """
    while (room := to - writer.size) > 0:
        if room <= RECORD_HEADER_SIZE:
            raise ValueError("rows of an open pack name records that lie over each other")
        length = min(room - RECORD_HEADER_SIZE, MAX_SEALED)
        if 0 < room - RECORD_HEADER_SIZE - length <= RECORD_HEADER_SIZE:
            length -= RECORD_HEADER_SIZE  # so that the next one has room for a head and a byte
        zeros = bytes(length)
        writer.append([Record(RecordKind.CHUNK, os.urandom(DIGEST_SIZE), blake3(zeros).digest(), zeros)])
