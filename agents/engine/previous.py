"""The latest snapshot as the cache knows it, looked up in path order beside the scan."""

from __future__ import annotations

from collections.abc import Sequence, Set

from agents.engine.cache import Bundle, Cache, CachedSegment
from agents.engine.describing import Key
from agents.engine.paths import path_key
from agents.engine.slots import Reference, Slot
from protocol.stored.manifests import Entry, Segment

#: One entry of the latest snapshot with its extents as references (and emptied, to be filled anew).
Part = tuple[Entry, list[Reference]]


class Known:
    """A path of the latest snapshot: the key it had, and its entry (several for a file in parts)."""

    __slots__ = ("key", "parts")

    def __init__(self, key: Key | None, parts: list[Part]) -> None:
        self.key = key
        self.parts = parts

    @property
    def entry(self) -> Entry:
        """The entry that tells size and digest: the last one."""
        return self.parts[-1][0]

    def references(self) -> list[Reference]:
        return [reference for _, references in self.parts for reference in references]

    def touches(self, ids: Set[bytes]) -> bool:
        """Whether its content lies in one of these chunks."""
        return bool(ids) and any(slot.id in ids for _, references in self.parts for slot, _, _ in references)


class _Loaded:
    """One segment, decoded, to be looked up by path."""

    def __init__(self, content: Segment, keys: list[Key], bundles: dict[bytes, Bundle]) -> None:
        self.keys = {key[0]: key for key in keys}
        self.slots = [Slot.known(ref.id, ref.hash, bundle=ref.id in bundles) for ref in content.chunks]
        self.entries: dict[bytes, list[Entry]] = {entry.path: [entry] for entry in content.entries}
        if len(self.entries) < len(content.entries):
            self.entries.clear()
            for entry in content.entries:
                self.entries.setdefault(entry.path, []).append(entry)

    def parts(self, path: bytes) -> list[Part]:
        """The entries of a path, each once: their extents are taken out."""
        return [(entry, self._take(entry)) for entry in self.entries.pop(path, ())]

    def _take(self, entry: Entry) -> list[Reference]:
        extents, slots = entry.extents, self.slots
        if len(extents) == 1:
            extent = extents.pop()
            return [(slots[extent.chunk], extent.offset, extent.length)]
        references = [(slots[extent.chunk], extent.offset, extent.length) for extent in extents]
        extents.clear()
        return references


class Previous:
    """The latest snapshot's segments with a place in them that only moves forward.

    Segments are *ridden*, compared key by key and used again whole, or looked into with `find`.
    """

    def __init__(self, cache: Cache, segments: Sequence[CachedSegment], bundles: dict[bytes, Bundle]) -> None:
        self._cache = cache
        self._segments = segments
        self._bundles = bundles
        self._first = [path_key(segment.head.ref.first_path) for segment in segments]
        self._last = [path_key(segment.head.ref.last_path) for segment in segments]
        self._place = 0
        self._loaded: _Loaded | None = None
        self._loaded_place = -1
        self._mounted: list[Key] = []
        self._mounted_place = -1
        self._spread_taint()

    def _spread_taint(self) -> None:
        """A file in parts that reaches into a tainted segment begins in an earlier one."""
        for place in range(len(self._segments) - 1, 0, -1):
            if self._segments[place].tainted and self._first[place] == self._last[place - 1]:
                self._segments[place - 1].tainted = True

    @property
    def segment(self) -> CachedSegment:
        """The segment at the present place."""
        return self._segments[self._place]

    def mount(self, done: bytes | None) -> list[Key] | None:
        """The keys of the segment that begins right after the path `done` (None: at the start), if it can be ridden.

        A segment that holds only further parts of a file has no keys: the answer is then an empty list.
        """
        if done is not None:
            self._move_behind(path_key(done))
        if self._place >= len(self._segments):
            return None
        if done is not None and self._first[self._place] <= path_key(done):
            return None
        return self._keys()

    def ridden(self) -> list[Key] | None:
        """The present segment is used again; the keys of the next one if it can be ridden as well."""
        self._place += 1
        return self._keys() if self._place < len(self._segments) else None

    def _keys(self) -> list[Key] | None:
        segment = self.segment
        if segment.tainted:
            return None
        self._mounted, self._mounted_place = self._cache.keys(segment), self._place
        return self._mounted

    def before(self, key: Key) -> list[tuple[Key | None, Part]]:
        """What stands in the present segment before the path of `key`: it was compared, and is to be written anew."""
        loaded = self._load(self._place)
        paths = []
        for path in loaded.entries:
            if path == key[0]:
                break
            paths.append(path)
        return [
            (loaded.keys.get(path) if part[0].part == 0 else None, part)
            for path in paths
            for part in loaded.parts(path)
        ]

    def same(self, key: Key) -> Known | None:
        """What the segment that was looked into last has under this very key; None when it says nothing of it.

        What `find` would answer, without looking for the segment: most of one in which something changed did not.
        """
        loaded = self._loaded
        if loaded is None or self._loaded_place != self._place or loaded.keys.get(key[0]) != key:
            return None
        entries = loaded.entries.get(key[0])
        if not entries or not entries[-1].last:
            return None
        return Known(key, loaded.parts(key[0]))

    def find(self, path: bytes) -> Known | None:
        """What the latest snapshot has under `path`. Ask in path order, once for each path."""
        place_key = path_key(path)
        while self._place < len(self._segments) and self._last[self._place] < place_key:
            self._place += 1
        if self._place >= len(self._segments) or self._first[self._place] > place_key:
            return None
        loaded = self._load(self._place)
        parts = loaded.parts(path)
        if not parts:
            return None
        known = Known(loaded.keys.get(path), parts)
        while not parts[-1][0].last and self._place + 1 < len(self._segments):
            more = self._load(self._place + 1).parts(path)
            if not more:
                break
            self._place += 1
            parts.extend(more)
        return known

    def _move_behind(self, place_key: bytes) -> None:
        while self._place < len(self._segments) and self._last[self._place] <= place_key:
            self._place += 1

    def _load(self, place: int) -> _Loaded:
        if self._loaded is None or self._loaded_place != place:
            segment = self._segments[place]
            keys = self._mounted if place == self._mounted_place else self._cache.keys(segment)
            self._loaded = _Loaded(self._cache.content(segment), keys, self._bundles)
            self._loaded_place = place
        return self._loaded
