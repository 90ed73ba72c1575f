"""Segments on their way from draft to row: they wait for their chunks' ids, and then for their own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from agents.engine.cache import Cache, CachedSegment
from agents.engine.compression import MANIFEST
from agents.engine.manifests import EncodedSegment, SegmentDraft
from agents.engine.pipeline import Pipeline
from agents.engine.slots import Slot

#: Segments that wait for their chunks; more than an open bundle may keep waiting (bundling.MOST_SEGMENTS).
MOST_WAITING = 48
#: Bytes of the root that segments may fill before long paths are no longer saved; the rest is for all other segments.
ROOM_IN_ROOT = 6 << 20
#: What a segment's record in the root takes beside its two paths.
_ROOT_RECORD = 128


@dataclass(slots=True)
class _Waiting:
    """First `draft` is set, then `encoded`; `place` is where the segment belongs."""

    place: int
    draft: SegmentDraft | None
    encoded: EncodedSegment | None = None
    slot: Slot = field(default_factory=Slot)

    def can_advance(self) -> bool:
        return self.draft.is_ready() if self.draft is not None else bool(self.slot.id)


class SegmentQueue:
    """Keeps the manifest's order while segments become ready in any. Used by the reader's thread."""

    def __init__(self, pipeline: Pipeline, cache: Cache) -> None:
        self._pipeline = pipeline
        self._cache = cache
        self._segments: list[CachedSegment | None] = []
        self._waiting: deque[_Waiting] = deque()
        self._in_root = 0

    @property
    def is_crowded(self) -> bool:
        """Whether the root, which names every segment's first and last path, has little room left."""
        return self._in_root > ROOM_IN_ROOT

    def reuse(self, segment: CachedSegment) -> None:
        """Append a segment of the latest snapshot as it is."""
        ref = segment.head.ref
        self._in_root += _ROOT_RECORD + len(ref.first_path) + len(ref.last_path)
        self._segments.append(segment)

    def add(self, draft: SegmentDraft) -> None:
        """Append a new segment. Blocks while too many wait."""
        self._waiting.append(_Waiting(len(self._segments), draft))
        self._in_root += _ROOT_RECORD + len(draft.entries[0].path) + len(draft.entries[-1].path)
        self._segments.append(None)
        self.advance()
        while len(self._waiting) > MOST_WAITING:
            self._pipeline.wait_until(self._waiting[0].can_advance)
            self.advance()

    def advance(self) -> None:
        """Bring every waiting segment as far as it can go now."""
        for waiting in list(self._waiting):
            if waiting.draft is not None and waiting.draft.is_ready():
                waiting.encoded = waiting.draft.encode()
                waiting.draft = None
                waiting.slot.length = len(waiting.encoded.plain)
                self._pipeline.submit((waiting.encoded.plain,), waiting.slot, MANIFEST)
            if waiting.encoded is not None and waiting.slot.id:
                self._segments[waiting.place] = self._stage(waiting.encoded, waiting.slot)
                self._waiting.remove(waiting)

    def _stage(self, encoded: EncodedSegment, slot: Slot) -> CachedSegment:
        block = encoded.block(slot.id)
        ref = encoded.ref(slot, block)
        self._pipeline.submit_block(block, ref.block_id)
        return self._cache.stage(encoded, ref)

    def finish(self) -> list[CachedSegment]:
        """Wait for all of them; return the manifest's segments in order."""
        while self._waiting:
            self._pipeline.wait_until(self._waiting[0].can_advance)
            self.advance()
        return [segment for segment in self._segments if segment is not None]
