"""Packs: immutable files of many sealed records, with an index and a trailer at the end.

``header 40 ‖ records ‖ index ‖ trailer 56``. A record is ``kind ‖ id ‖ length ‖ BLAKE3(sealed) ‖ sealed``; the index
repeats every record's head with the offset of its sealed bytes; the trailer finds the index and guards it by digest.
The digests guard against accidents; malice is caught by the AEAD, by the plaintext hash and by the pack's whole digest
that the catalogue and the lists in the store hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from blake3 import blake3

from protocol.stored.chunks import MAX_SEALED
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, check_size
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

PACK_HEADER_SIZE = PREFIX_SIZE + 2 * ID_SIZE
RECORD = struct.Struct(">B32sI32s")
RECORD_HEADER_SIZE = RECORD.size
INDEX = struct.Struct(">B32sQI32s")
INDEX_ENTRY_SIZE = INDEX.size
TRAILER = struct.Struct(">QII32s8s")
TRAILER_SIZE = TRAILER.size
TRAILER_MAGIC = b"STRMPACK"

PACK_TARGET_SIZE = 64 * 1024 * 1024
"""A pack is sealed at this size: large enough for object stores, small enough to verify in one task."""
MAX_PACK_RECORDS = 1 << 20
"""Bounds the index that a reader must hold; a 64 MiB pack of the smallest records stays under it."""


class RecordKind(IntEnum):
    """What a record in a pack holds."""

    CHUNK = 1
    REFERENCE_BLOCK = 2


@dataclass(frozen=True, slots=True)
class PackHeader:
    """Whose pack this is."""

    vault_id: bytes
    pack_uid: bytes


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """The head of one record; ``length`` and ``digest`` are those of the sealed bytes that follow."""

    kind: int
    id: bytes
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Where one record's sealed bytes are: ``offset`` from the start of the file."""

    kind: int
    id: bytes
    offset: int
    length: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Trailer:
    """Where the index is and what it must hash to."""

    index_offset: int
    count: int
    index_digest: bytes


def encode_pack_header(vault_id: bytes, pack_uid: bytes) -> bytes:
    """Return the 40 bytes that a pack begins with."""
    check_size(vault_id, ID_SIZE, "pack", "vault id")
    check_size(pack_uid, ID_SIZE, "pack", "pack id")
    return pack_prefix(ObjectType.PACK) + vault_id + pack_uid


def decode_pack_header(data: bytes) -> PackHeader:
    """Read the first 40 bytes of a pack."""
    check_size(data, PACK_HEADER_SIZE, "pack", "header")
    check_prefix(data, ObjectType.PACK)
    return PackHeader(bytes(data[8:24]), bytes(data[24:40]))


def encode_record_header(kind: int, record_id: bytes, length: int, digest: bytes) -> bytes:
    """Return the 69 bytes that precede a record's sealed bytes."""
    _check_record(kind, length)
    check_size(record_id, DIGEST_SIZE, "pack record", "id")
    check_size(digest, DIGEST_SIZE, "pack record", "digest")
    return RECORD.pack(kind, record_id, length, digest)


def decode_record_header(data: bytes) -> RecordHeader:
    """Read the 69 bytes that precede a record's sealed bytes."""
    check_size(data, RECORD_HEADER_SIZE, "pack record", "header")
    kind, record_id, length, digest = RECORD.unpack(data)
    _check_record(kind, length)
    return RecordHeader(kind, record_id, length, digest)


def encode_index(entries: Iterable[IndexEntry]) -> bytes:
    """Return the index of these records, in the order given."""
    return b"".join(INDEX.pack(e.kind, e.id, e.offset, e.length, e.digest) for e in entries)


def decode_index(data: bytes, count: int) -> list[IndexEntry]:
    """Read an index of ``count`` records."""
    if count > MAX_PACK_RECORDS or len(data) != count * INDEX_ENTRY_SIZE:
        raise FormatError("pack index", f"is {len(data)} bytes, which does not hold {count} records")
    entries = [IndexEntry(*fields) for fields in INDEX.iter_unpack(data)]
    for entry in entries:
        _check_record(entry.kind, entry.length)
    return entries


def encode_trailer(index_offset: int, count: int, index: bytes) -> bytes:
    """Return the 56 bytes that end a pack."""
    return TRAILER.pack(index_offset, count, 0, blake3(index).digest(), TRAILER_MAGIC)


def decode_trailer(data: bytes) -> Trailer:
    """Read the last 56 bytes of a pack."""
    check_size(data, TRAILER_SIZE, "pack trailer", "whole")
    index_offset, count, reserved, digest, magic = TRAILER.unpack(data)
    if magic != TRAILER_MAGIC or reserved != 0:
        raise FormatError("pack trailer", "does not end as a pack of Strongroom")
    if count > MAX_PACK_RECORDS:
        raise FormatError("pack trailer", f"claims {count} records, over the limit of {MAX_PACK_RECORDS}")
    return Trailer(index_offset, count, digest)


def read_index(read_at: Callable[[int, int], bytes], size: int) -> list[IndexEntry]:
    """Return a sealed pack's index, checked by its trailer's digest and against the file's ``size``.

    ``read_at(offset, length)`` returns that part of the file (shorter at its end). FormatError when trailer or index
    are damaged, or do not fit together.
    """
    if size < PACK_HEADER_SIZE + TRAILER_SIZE:
        raise FormatError("pack", f"is only {size} bytes long")
    trailer = decode_trailer(read_at(size - TRAILER_SIZE, TRAILER_SIZE))
    length = trailer.count * INDEX_ENTRY_SIZE
    if trailer.index_offset < PACK_HEADER_SIZE or trailer.index_offset + length + TRAILER_SIZE != size:
        raise FormatError("pack trailer", "points to an index that does not fit the file")
    index = read_at(trailer.index_offset, length)
    if blake3(index).digest() != trailer.index_digest:
        raise FormatError("pack index", "its digest does not match")
    entries = decode_index(index, trailer.count)
    _check_order(entries, trailer.index_offset)
    return entries


def scan_records(read_at: Callable[[int, int], bytes], size: int) -> Iterator[IndexEntry]:
    """Walk the records of an open (unsealed) pack of ``size`` bytes, stopping at a torn tail.

    Yields only records whose header is sound, whose body is whole and whose digest matches; the end of the last one is
    where the file may be cut. Reads one record at a time (at most MAX_SEALED bytes). FormatError for a bad file header.
    """
    decode_pack_header(read_at(0, PACK_HEADER_SIZE))
    offset = PACK_HEADER_SIZE
    while offset + RECORD_HEADER_SIZE <= size:
        try:
            header = decode_record_header(read_at(offset, RECORD_HEADER_SIZE))
        except FormatError:
            return
        start = offset + RECORD_HEADER_SIZE
        sealed = read_at(start, header.length)
        if len(sealed) != header.length or blake3(sealed).digest() != header.digest:
            return
        yield IndexEntry(header.kind, header.id, start, header.length, header.digest)
        offset = start + header.length


def _check_order(entries: list[IndexEntry], index_offset: int) -> None:
    expected = PACK_HEADER_SIZE
    for entry in entries:
        if entry.offset != expected + RECORD_HEADER_SIZE:
            raise FormatError("pack index", "does not describe records that follow each other")
        expected = entry.offset + entry.length
    if expected != index_offset:
        raise FormatError("pack index", "leaves a part of the pack undescribed")


def _check_record(kind: int, length: int) -> None:
    if kind not in (RecordKind.CHUNK, RecordKind.REFERENCE_BLOCK):
        raise FormatError("pack record", f"is of kind {kind}, which this program does not know")
    if not 0 < length <= MAX_SEALED:
        raise FormatError("pack record", f"its length of {length} bytes is out of bounds")
