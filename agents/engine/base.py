"""What a pass builds on: the latest snapshot's segments, what of them the server lacks, what is to be written anew."""

from __future__ import annotations

from collections.abc import Iterable, Set
from concurrent.futures import Future
from dataclasses import dataclass, field

from agents.engine.bundling import KIB
from agents.engine.cache import Bundle, Cache, CachedSegment
from agents.engine.link import BackupLink
from agents.engine.paths import path_key
from agents.engine.saving import Outcome

#: How much of bundles that are mostly unused may be written anew in one run: bytes, and a share of the sources.
REPACKED = 64 << 20
REPACKED_SHARE = 20
#: Small trees may write anew so much in any case.
REPACKED_ANYWAY = 256 * KIB
#: Ids in one question about everything, and such questions under way at once (both bounded by the protocol).
ASKED_AT_ONCE = 4096
QUESTIONS_AT_ONCE = 4
ANSWER_SECONDS = 600.0


@dataclass(slots=True)
class Base:
    """Segments in path order, the bundles that they use, and the generation in which all of it was present."""

    segments: list[CachedSegment] = field(default_factory=list)
    bundles: dict[bytes, Bundle] = field(default_factory=dict)
    generation: int = 0
    half_read: Set[bytes] = frozenset()

    def clear(self) -> None:
        """There is nothing to build on after all."""
        self.segments, self.bundles, self.half_read = [], {}, frozenset()


def load_base(cache: Cache) -> Base:
    """What the cache knows of the latest acknowledged snapshot. CacheFault when it is damaged."""
    layout = cache.layout()
    if layout is None:
        return Base()
    return Base(cache.segments(layout), layout.bundles, layout.generation, frozenset(layout.half_read))


def next_base(outcome: Outcome, base: Base, sequence: int, generation: int) -> Base:
    """What the pass that made `outcome` from `base` leaves to build on; `sequence` is its snapshot's number."""
    used = {bundle_id for segment in outcome.segments for bundle_id in segment.head.usage}
    bundles = {bundle_id: base.bundles[bundle_id] for bundle_id in used & base.bundles.keys()}
    for bundle_id in used - bundles.keys():
        bundles[bundle_id] = Bundle(outcome.bundles[bundle_id], sequence)
    return Base(list(outcome.segments), bundles, generation, outcome.half_read)


def find_lost(base: Base, cache: Cache, link: BackupLink) -> set[bytes]:
    """Ask about every id that the base needs; return those that the server lacks. CacheFault."""
    return _ask_all(_needed(base, cache), link)


def _needed(base: Base, cache: Cache) -> Iterable[bytes]:
    for segment in base.segments:
        yield segment.head.ref.chunk_id
        yield segment.head.ref.block_id
        yield from cache.chunk_ids(segment)


def _ask_all(ids: Iterable[bytes], link: BackupLink) -> set[bytes]:
    lacking: set[bytes] = set()
    under_way: list[Future[set[bytes]]] = []
    batch: dict[bytes, None] = {}
    for each in ids:
        batch[each] = None
        if len(batch) == ASKED_AT_ONCE:
            under_way.append(link.ask(list(batch)))
            batch = {}
        if len(under_way) == QUESTIONS_AT_ONCE:
            lacking |= under_way.pop(0).result(ANSWER_SECONDS)
    if batch:
        under_way.append(link.ask(list(batch)))
    for answer in under_way:
        lacking |= answer.result(ANSWER_SECONDS)
    return lacking


def choose_repacked(base: Base) -> frozenset[bytes]:
    """Bundles of which less than half is still used, the oldest first, within a run's allowance."""
    used: dict[bytes, int] = {}
    total = 0
    for segment in base.segments:
        total += segment.counts.bytes
        for bundle_id, size in segment.head.usage.items():
            used[bundle_id] = used.get(bundle_id, 0) + size
    wasteful = [
        (bundle.born, bundle_id)
        for bundle_id, bundle in base.bundles.items()
        if 0 < used.get(bundle_id, 0) * 2 < bundle.length
    ]
    allowance = min(REPACKED, max(total // REPACKED_SHARE, REPACKED_ANYWAY))
    chosen = set()
    for _, bundle_id in sorted(wasteful):
        allowance -= used[bundle_id]
        if allowance < 0:
            break
        chosen.add(bundle_id)
    return frozenset(chosen)


def mark_tainted(base: Base, cache: Cache, lost: Set[bytes], avoid: Set[bytes]) -> None:
    """Mark the segments that cannot be used again as they are. `avoid` is `lost` and what is to be repacked."""
    half_read = [path_key(path) for path in base.half_read]
    for segment in base.segments:
        ref = segment.head.ref
        segment.tainted = (
            ref.chunk_id in lost
            or ref.block_id in lost
            or not avoid.isdisjoint(segment.head.usage)
            or (bool(lost) and not lost.isdisjoint(cache.chunk_ids(segment)))
            or any(path_key(ref.first_path) <= key <= path_key(ref.last_path) for key in half_read)
        )
