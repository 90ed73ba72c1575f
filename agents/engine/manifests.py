"""Manifest segments: entries in path order, ended where their paths say so, sealed like any chunk.

After an entry that brings a segment to at least SMALLEST, it ends if the entry's keyed digest falls under a threshold
proportional to the entry's weight, so that a change in one place leaves all other segments as they were. The weight
counts path and extents, not values, and the digest is of the path alone: a file whose content changes moves no end.
`docs/decisions/0033` has the figures. Reading needs no more than `read_segment`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from blake3 import blake3
from msgspec.structs import force_setattr

from agents.engine.describing import Key
from agents.engine.paths import LONG_PATH
from agents.engine.slots import Reference, Slot
from protocol.stored.blocks import block_id, encode_block
from protocol.stored.manifests import (
    MAX_EXTENTS,
    ChunkRef,
    Entry,
    EntryType,
    Extent,
    Segment,
    decode_segment,
    encode_segment,
)
from protocol.stored.roots import SegmentRef

#: Weights, about the bytes of the encoded segment.
ENTRY_WEIGHT = 96
EXTENT_WEIGHT = 72
#: Little beside FURTHER, as with bundles.
SMALLEST = 16 * 1024
FURTHER = 112 * 1024
LARGEST = 512 * 1024
#: What an entry may hold beside its path and extents (link targets, attributes, holes) has no part in where segments
#: end, but a bound: users could fill the chunk that a segment has to fit into. Two largest entries stay far below it.
MOST_FURTHER_BYTES = 512 * 1024
_HOLE_BYTES = 20
#: Keeps encoding in one piece and reading one directory cheap even for the shortest of paths.
MOST_ENTRIES = 8192
_FIRST_PART = bytes(5)
# What happens to each entry names no attribute of an enumeration: looking one up takes as long as hashing a short path.
_FILE = EntryType.FILE


@dataclass(slots=True)
class Counts:
    """What a segment's entries add up to. A file in parts counts where its last part stands."""

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0

    def add(self, other: Counts) -> None:
        self.files += other.files
        self.directories += other.directories
        self.others += other.others
        self.bytes += other.bytes


@dataclass(slots=True)
class SegmentDraft:
    """A segment whose chunks are not all identified yet."""

    entries: list[Entry] = field(default_factory=list)
    references: list[Sequence[Reference]] = field(default_factory=list)
    #: One for each path whose first entry stands here.
    keys: list[Key] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    waiting: list[Slot] = field(default_factory=list)
    weight: int = 0
    further_bytes: int = 0

    def is_ready(self) -> bool:
        """Whether every chunk that it names has an id."""
        while self.waiting and self.waiting[-1].id:
            self.waiting.pop()
        return not self.waiting

    def encode(self) -> EncodedSegment:
        """The segment's plaintext, and what must be known of it. Only when it is ready."""
        table: dict[bytes, int] = {}
        chunks: list[ChunkRef] = []
        usage: Counter[bytes] = Counter()
        for entry, references in zip(self.entries, self.references, strict=True):
            extents = entry.extents
            if not entry.digest and len(references) == 1 and entry.type == _FILE:
                # A file that is one chunk of its own: h is the BLAKE3 of all of it, so it is not hashed twice.
                force_setattr(entry, "digest", references[0][0].h)
            for slot, offset, length in references:
                index = table.get(slot.id)
                if index is None:
                    index = table[slot.id] = len(chunks)
                    chunks.append(ChunkRef(slot.id, slot.h))
                extents.append(Extent(index, offset, length))
                if slot.bundle:
                    usage[slot.id] += length
        plain = encode_segment(Segment(chunks, self.entries))
        first, last = self.entries[0].path, self.entries[-1].path
        return EncodedSegment(plain, list(table), first, last, len(self.entries), self.keys, self.counts, dict(usage))


@dataclass(slots=True)
class EncodedSegment:
    """A segment's plaintext, the ids that it needs, and what the cache keeps of it."""

    plain: bytes
    chunk_ids: list[bytes]
    first_path: bytes
    last_path: bytes
    entries: int
    keys: list[Key]
    counts: Counts
    #: Bytes that the segment's files use of each bundle.
    usage: dict[bytes, int]

    def block(self, own_id: bytes) -> bytes:
        """The reference block: what the segment needs, itself included."""
        return encode_block([*self.chunk_ids, own_id])

    def ref(self, slot: Slot, block: bytes) -> SegmentRef:
        """How the root names the segment once its own chunk is identified."""
        return SegmentRef(
            self.first_path, self.last_path, slot.id, slot.h, block_id(block), len(self.plain), self.entries
        )


class SegmentWriter:
    """Takes entries in path order and hands over a draft whenever a segment ends. `key` is "segment-ends"."""

    def __init__(self, key: bytes, on_draft: Callable[[SegmentDraft], None]) -> None:
        self._key = key
        self._on_draft = on_draft
        self._draft = SegmentDraft()

    @property
    def is_at_boundary(self) -> bool:
        """Whether the next entry begins a segment."""
        return not self._draft.entries

    def add(self, entry: Entry, references: Sequence[Reference], key: Key | None) -> None:
        """Append an entry whose extents are still empty; `key` is None for a further part of a file."""
        draft = self._draft
        draft.entries.append(entry)
        draft.references.append(references)
        if key is not None:
            draft.keys.append(key)
        for slot, _, _ in references:
            if not slot.id:
                waiting = draft.waiting
                if not waiting or waiting[-1] is not slot:
                    waiting.append(slot)
        _count(draft.counts, entry)
        weight = ENTRY_WEIGHT + len(entry.path) + EXTENT_WEIGHT * len(references)
        draft.weight = whole = draft.weight + weight
        if entry.xattrs or entry.link or entry.sparse:
            draft.further_bytes += _further_bytes(entry)
        if (whole >= SMALLEST and self._is_end(entry, weight)) or draft.further_bytes >= MOST_FURTHER_BYTES:
            self.end()

    def _is_end(self, entry: Entry, weight: int) -> bool:
        draft = self._draft
        if draft.weight >= LARGEST or len(draft.entries) >= MOST_ENTRIES:
            return True
        return len(entry.path) <= LONG_PATH and is_segment_end(self._key, entry.path, entry.part, weight)

    def end(self) -> None:
        """Close the open segment, if there is one."""
        if self._draft.entries:
            draft, self._draft = self._draft, SegmentDraft()
            self._on_draft(draft)


def is_segment_end(key: bytes, path: bytes, part: int, weight: int) -> bool:
    """Whether a segment that is large enough ends after this entry."""
    named = path + (b"\0" + part.to_bytes(4, "big") if part else _FIRST_PART)
    drawn = int.from_bytes(blake3(named, key=key).digest(8), "big")
    return drawn * FURTHER < weight << 64


def _further_bytes(entry: Entry) -> int:
    attributes = sum(len(name) + len(value) for name, value in entry.xattrs)
    return len(entry.link) + attributes + _HOLE_BYTES * len(entry.sparse)


def _count(counts: Counts, entry: Entry) -> None:
    kind = entry.type
    if kind == _FILE:
        if entry.last:
            counts.files += 1
            counts.bytes += entry.size
    elif kind == EntryType.DIRECTORY:
        counts.directories += 1
    else:
        counts.others += 1


def read_segment(plain: bytes) -> list[tuple[Entry, list[tuple[ChunkRef, Extent]]]]:
    """The entries of a segment, each with its extents resolved through the segment's table. FormatError if damaged."""
    segment = decode_segment(plain)
    chunks = segment.chunks
    return [(entry, [(chunks[extent.chunk], extent) for extent in entry.extents]) for entry in segment.entries]


__all__ = ["MAX_EXTENTS", "Counts", "EncodedSegment", "SegmentDraft", "SegmentWriter", "is_segment_end", "read_segment"]
