"""Manifest segments: a run of a snapshot's entries in path order, the plaintext of one chunk.

``prefix ‖ MessagePack array [chunks, entries]``. A segment has its own chunk table; an entry's extents point into it.
New fields are only ever added at the end of an array, with a default: older readers skip them, newer ones fill them in.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from protocol.stored.chunks import MAX_CHUNK_PLAIN
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, check_size, decode_body
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

MAX_EXTENTS = 4096
"""A file with more is cut into parts, so that no segment outgrows a chunk."""
MAX_SEGMENT_ENTRIES = 32_768


class EntryType(IntEnum):
    """What a path was."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3
    FIFO = 4
    SOCKET = 5
    CHARACTER_DEVICE = 6
    BLOCK_DEVICE = 7


class ChunkRef(msgspec.Struct, frozen=True, array_like=True):
    """A chunk that this segment's files need. ``hash`` is h, a read capability."""

    id: bytes
    hash: bytes


class Extent(msgspec.Struct, frozen=True, array_like=True):
    """``length`` bytes from ``offset`` of chunk number ``chunk`` of the segment's table."""

    chunk: int
    offset: int
    length: int


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One path of a snapshot. Paths, link targets and attributes are bytes; ``mtime_ns`` in nanoseconds.

    ``extents`` in order make up the content. ``digest`` is the BLAKE3 of the whole file (empty for what has no
    content). A file with more than MAX_EXTENTS extents is told in consecutive entries of the same path, ``part`` 0, 1,
    …, of which the one with ``last`` set ends it.
    """

    path: bytes
    type: int
    mode: int
    uid: int
    gid: int
    user: str = ""
    group: str = ""
    size: int = 0
    mtime_ns: int = 0
    extents: list[Extent] = []
    digest: bytes = b""
    link: bytes = b""
    device: int = 0
    hardlink: int = 0
    xattrs: list[tuple[bytes, bytes]] = []
    sparse: list[tuple[int, int]] = []
    part: int = 0
    last: bool = True


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A decoded manifest segment."""

    chunks: list[ChunkRef]
    entries: list[Entry]


def encode_segment(segment: Segment) -> bytes:
    """Return the segment's plaintext."""
    return pack_prefix(ObjectType.MANIFEST_SEGMENT) + msgspec.msgpack.encode(segment)


def decode_segment(data: bytes) -> Segment:
    """Read a segment's plaintext: every chunk reference whole, every extent inside the table, every bound kept.

    What a path may look like is the restorer's business, not checked here.
    """
    if len(data) > MAX_CHUNK_PLAIN:
        raise FormatError("manifest segment", f"is {len(data)} bytes, over the limit of {MAX_CHUNK_PLAIN}")
    check_prefix(data, ObjectType.MANIFEST_SEGMENT)
    segment = decode_body(bytes(data[PREFIX_SIZE:]), Segment, "manifest segment")
    if len(segment.entries) > MAX_SEGMENT_ENTRIES:
        raise FormatError("manifest segment", f"has more than {MAX_SEGMENT_ENTRIES} entries")
    for ref in segment.chunks:
        check_size(ref.id, DIGEST_SIZE, "manifest segment", "chunk id")
        check_size(ref.hash, DIGEST_SIZE, "manifest segment", "chunk hash")
    for entry in segment.entries:
        _check_entry(entry, len(segment.chunks))
    return segment


def _check_entry(entry: Entry, chunks: int) -> None:
    if entry.type not in _TYPES or entry.size < 0 or entry.part < 0:
        raise FormatError("manifest segment", "an entry's type, size or part is out of bounds")
    if len(entry.extents) > MAX_EXTENTS or len(entry.digest) not in (0, DIGEST_SIZE):
        raise FormatError("manifest segment", "an entry's extents or digest are out of bounds")
    for extent in entry.extents:
        if not 0 <= extent.chunk < chunks or extent.offset < 0 or extent.length <= 0:
            raise FormatError("manifest segment", "an extent points outside of the segment's chunks")
        if extent.offset + extent.length > MAX_CHUNK_PLAIN:
            raise FormatError("manifest segment", "an extent is longer than any chunk")


_TYPES = frozenset(EntryType)
