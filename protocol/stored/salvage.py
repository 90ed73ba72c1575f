"""Reading what is left of a pack whose index cannot be read: record by record, as far as their heads lead.

A record whose content does not match its digest is passed over, since its length still tells where the next one
begins. A head that makes no sense ends the walk: nobody can tell where the next record would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from blake3 import blake3

from protocol.stored.errors import FormatError
from protocol.stored.packs import (
    PACK_HEADER_SIZE,
    RECORD_HEADER_SIZE,
    IndexEntry,
    decode_pack_header,
    decode_record_header,
)


def salvage_records(read_at: Callable[[int, int], bytes], size: int) -> Iterator[IndexEntry]:
    """Yield the intact records of a file of ``size`` bytes, one in memory at a time. FormatError for a bad file header.

    ``read_at(offset, length)`` returns that part of the file (shorter at its end).
    """
    decode_pack_header(read_at(0, PACK_HEADER_SIZE))
    offset = PACK_HEADER_SIZE
    while offset + RECORD_HEADER_SIZE <= size:
        try:
            header = decode_record_header(read_at(offset, RECORD_HEADER_SIZE))
        except FormatError:
            return
        start = offset + RECORD_HEADER_SIZE
        if start + header.length > size:
            return
        if blake3(read_at(start, header.length)).digest() == header.digest:
            yield IndexEntry(header.kind, header.id, start, header.length, header.digest)
        offset = start + header.length
