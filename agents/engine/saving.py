"""One pass over the sources: scan beside the latest snapshot, read what changed, write the new manifest."""

from __future__ import annotations

import os
import threading
from collections.abc import Set
from dataclasses import dataclass

from blake3 import blake3

from agents.engine.bundling import SMALL_FILE, Bundler
from agents.engine.cache import Cache, CachedSegment
from agents.engine.chunking import Chunker
from agents.engine.compression import group_of
from agents.engine.contents import is_untouched, read_small, read_to_end
from agents.engine.describing import Describer, Key, key_of, trusted_key, type_of
from agents.engine.faults import Cancelled
from agents.engine.large_files import LargeFileReader
from agents.engine.link import FileState
from agents.engine.manifests import Counts, SegmentDraft, SegmentWriter
from agents.engine.opening import open_regular
from agents.engine.paths import LONG_PATH
from agents.engine.pipeline import Pipeline
from agents.engine.previous import Known, Previous
from agents.engine.scanning import Scanner, reason_of
from agents.engine.segment_queue import SegmentQueue
from agents.engine.slots import Reference, Slot
from agents.engine.tally import Tally
from protocol.stored.manifests import Entry, EntryType

#: A small file that changes while it is read is read so often.
READS = 3
#: Names of hard-linked files remembered, so that each is read once.
MOST_LINKS = 100_000
TOO_MANY_LONG_PATHS = "it was not saved: its path is long, and there are too many of those for one snapshot"
CHANGED_WHILE_READ = "it changed while it was read, and was saved as it was read"
_REGULAR = EntryType.FILE
_FILE = 0o100000
_TYPE = 0o170000


@dataclass(slots=True)
class Parts:
    """What a pass works with."""

    pipeline: Pipeline
    cache: Cache
    chunker: Chunker
    tally: Tally
    bundle_key: bytes
    segment_key: bytes
    started_ns: int
    first_source: bytes
    cancel: threading.Event
    #: Chunks that the server lacks, and bundles to be written anew: files that use them are read.
    avoid: Set[bytes] = frozenset()
    lost: Set[bytes] = frozenset()
    #: Paths whose last backup ended in a fault when a part of them was told already: they are read whatever their keys.
    half_read: Set[bytes] = frozenset()


@dataclass(slots=True)
class Outcome:
    """The new manifest."""

    segments: list[CachedSegment]
    #: id -> length of the bundles that were made.
    bundles: dict[bytes, int]
    counts: Counts
    half_read: frozenset[bytes]


class Saver:
    """Makes one pass. Everything here runs in the reader's thread."""

    def __init__(self, parts: Parts, previous: Previous | None) -> None:
        self._parts = parts
        self._pipeline = parts.pipeline
        self._tally = parts.tally
        self._previous = previous
        self._describer = Describer()
        self._bundler = Bundler(parts.bundle_key, self._submit_bundle)
        self._writer = SegmentWriter(parts.segment_key, self._on_draft)
        self._segments = SegmentQueue(parts.pipeline, parts.cache)
        self._bundles: list[Slot] = []
        self._reader = LargeFileReader(parts.pipeline, parts.chunker, parts.cancel)
        self._half_read: set[bytes] = set()
        self._last_way = _parent_of(parts.first_source)
        self._links: dict[tuple[int, int], tuple[Key, list[Reference], int, bytes]] = {}

    # --- the walk --------------------------------------------------------------------------------

    def run(self, scanner: Scanner) -> Outcome:
        """Save everything that `scanner` finds."""
        keys, position = self._mount(None), 0
        tally, cancelled = self._tally, self._parts.cancel.is_set
        for path, name, info, directory in scanner:
            # Written out, not called: this is all that happens to an unchanged file.
            key = (
                path,
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_size,
                info.st_mtime_ns,
                info.st_ctime_ns,
                info.st_ino,
            )
            if keys is not None:
                if keys[position] == key:
                    position += 1
                    if position == len(keys):
                        keys, position = self._ridden(), 0
                        if cancelled():
                            raise Cancelled
                    continue
                self._dismount(keys[position])
                keys = None
            if info.st_mode & _TYPE == _FILE:
                tally.scanned(1, info.st_size)
            self._walk(path, key, name, info, directory)
            if self._previous is not None and self._is_at_boundary(path):
                keys, position = self._mount(path), 0
            if cancelled():
                raise Cancelled
        if keys is not None:
            self._dismount(keys[position])
        return self._finish()

    def _is_at_boundary(self, path: bytes) -> bool:
        """Whether the entry after `path` begins a segment. The last one on the way to the sources ends the way's:
        what changed there, as /tmp does all the time, must not have the sources' first segment written again."""
        if path == self._last_way:
            self._writer.end()
        return self._writer.is_at_boundary

    def _mount(self, done: bytes | None) -> list[Key] | None:
        if self._previous is None or self._segments.is_crowded:
            return None
        keys = self._previous.mount(done)
        return self._ridden() if keys == [] else keys

    def _ridden(self) -> list[Key] | None:
        """Use the present segment again, and those after it that hold only further parts of its last file."""
        assert self._previous is not None
        while True:
            segment = self._previous.segment
            self._segments.reuse(segment)
            counts = segment.counts
            self._tally.scanned(counts.files, counts.bytes)
            self._tally.file("unmodified", counts.files)
            keys = self._previous.ridden()
            if keys != []:
                return None if self._segments.is_crowded else keys

    def _dismount(self, key: Key) -> None:
        """Something differs at `key`: what was compared before it goes into a new segment."""
        assert self._previous is not None
        for known_key, (entry, references) in self._previous.before(key):
            self._writer.add(entry, references, known_key)
            if entry.type == EntryType.FILE and entry.last:
                self._tally.scanned(1, entry.size)
                self._tally.file("unmodified")

    def _walk(self, path: bytes, key: Key, name: bytes, info: os.stat_result, directory: int) -> None:
        if path == self._parts.first_source:
            # What lies on the way to the sources changes without them: it is a segment of its own.
            self._writer.end()
        if len(path) > LONG_PATH and self._segments.is_crowded:
            return self._tally.error(path, TOO_MANY_LONG_PATHS)
        known = None
        if self._previous is not None:
            if (same := self._previous.same(key)) is not None and self._is_sound(same):
                return self._keep(same, key)
            known = same or self._previous.find(path)
            if known is not None and known.key == key and self._is_sound(known):
                return self._keep(known, key)
        try:
            kind = type_of(info)
            if kind is None:
                self._tally.error(path, "it is of a kind that cannot be saved")
            elif kind == _REGULAR:
                self._file(path, key, name, info, directory, known)
            else:
                entry = self._describer.entry(path, name, directory, info, kind)
                self._writer.add(entry, (), trusted_key(key, self._parts.started_ns))
        except OSError as fault:
            self._tally.error(path, reason_of(fault))
        return None

    def _is_sound(self, known: Known) -> bool:
        half_read, avoid = self._parts.half_read, self._parts.avoid
        return not (half_read and known.entry.path in half_read) and not (avoid and known.touches(avoid))

    def _keep(self, known: Known, key: Key) -> None:
        for entry, references in known.parts:
            self._writer.add(entry, references, key if entry.part == 0 else None)
        if known.entry.type == _REGULAR:
            self._tally.file("unmodified")

    # --- files -----------------------------------------------------------------------------------

    def _file(
        self, path: bytes, key: Key, name: bytes, info: os.stat_result, directory: int, known: Known | None
    ) -> None:
        linked = self._links.get((info.st_dev, info.st_ino)) if info.st_nlink > 1 else None
        if linked is not None and linked[0][1:] == key[1:]:
            _, references, size, digest = linked
            entry = self._describer.entry(
                path, name, directory, info, EntryType.FILE, size=size, extents=[], digest=digest
            )
            self._writer.add(entry, references, trusted_key(key, self._parts.started_ns))
            return self._tally.file("changed" if known else "new")
        if self._tally.reading is not None:
            self._tally.reading(path)
        descriptor, before = open_regular(name, directory, info)
        try:
            if before.st_size >= SMALL_FILE or not self._small(path, name, directory, descriptor, before, known):
                self._large(path, name, directory, descriptor, known)
        finally:
            os.close(descriptor)
        return None

    def _small(
        self, path: bytes, name: bytes, directory: int, descriptor: int, before: os.stat_result, known: Known | None
    ) -> bool:
        """Save a small file; False when it turns out to be large by now."""
        for _ in range(READS):
            size = before.st_size
            data = read_small(descriptor, size)
            after = os.fstat(descriptor)
            if is_untouched(before, after):
                if len(data) != size:
                    data = self._whatever_it_holds(path, descriptor)
                break
            before = after
            if before.st_size >= SMALL_FILE:
                return False
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            data = read_small(descriptor, before.st_size)
            self._tally.error(path, CHANGED_WHILE_READ)
        if len(data) >= SMALL_FILE:
            return False
        self._tally.bytes_read += len(data)
        digest = blake3(data).digest()
        entry = self._describer.entry(
            path, name, directory, before, _REGULAR, opened=descriptor, size=len(data), extents=[], digest=digest
        )
        if known is not None or before.st_nlink > 1 or not data:
            self._add_file(path, before, entry, self._place(data, digest, known), known)
        else:
            # The same for most files of a first backup, with nothing to compare or remember.
            slot, offset = self._bundler.add(data, digest)
            self._writer.add(entry, [(slot, offset, len(data))], self._trusted(path, before))
            self._tally.file("new")
        return True

    def _whatever_it_holds(self, path: bytes, descriptor: int) -> bytes:
        """The content of a file that has another size than the system says, as those of pseudo file systems have."""
        data = read_to_end(descriptor, SMALL_FILE)
        if len(data) == SMALL_FILE:
            self._tally.error(
                path, f"it holds more than its size says: only its first {SMALL_FILE - 1:,} bytes were saved"
            )
        return data[: SMALL_FILE - 1]

    def _place(self, data: bytes, digest: bytes, known: Known | None) -> list[Reference]:
        """Where a small file's content lies: where it lay if it is the same, else in the open bundle."""
        healing = b""
        if known is not None:
            old = known.references()
            if known.entry.digest == digest and not known.touches(self._parts.avoid):
                return old
            if len(old) == 1 and old[0][0].bundle and old[0][0].id in self._parts.lost:
                healing = old[0][0].id
        if not data:
            return []
        slot, offset = self._bundler.add(data, digest, healing)
        return [(slot, offset, len(data))]

    def _large(self, path: bytes, name: bytes, directory: int, descriptor: int, known: Known | None) -> None:
        seen = os.fstat(descriptor)

        def on_part(references: list[Reference], part: int) -> None:
            entry = self._describer.entry(
                path,
                name,
                directory,
                seen,
                EntryType.FILE,
                opened=descriptor,
                size=seen.st_size,
                extents=[],
                part=part,
                last=False,
            )
            self._writer.add(entry, references, self._trusted(path, seen) if part == 0 else None)

        try:
            content, before = self._reader.read(descriptor, group_of(path), on_part)
        except OSError:
            self._half_read.add(path)
            raise
        if content.changed:
            self._tally.error(path, CHANGED_WHILE_READ)
        entry = self._describer.entry(
            path,
            name,
            directory,
            before,
            EntryType.FILE,
            opened=descriptor,
            size=content.size,
            extents=[],
            digest=content.digest,
            sparse=content.sparse,
            part=content.part,
        )
        self._add_file(path, before, entry, content.references, known)

    def _add_file(
        self, path: bytes, info: os.stat_result, entry: Entry, references: list[Reference], known: Known | None
    ) -> None:
        """Write a file's last (mostly only) entry, remember it for its other names, count it."""
        self._writer.add(entry, references, self._trusted(path, info) if entry.part == 0 else None)
        if info.st_nlink > 1 and entry.part == 0 and len(self._links) < MOST_LINKS:
            self._links[info.st_dev, info.st_ino] = (key_of(path, info), references, entry.size, entry.digest)
        self._tally.file(_state(entry, known))

    def _trusted(self, path: bytes, info: os.stat_result) -> Key:
        return trusted_key(key_of(path, info), self._parts.started_ns)

    # --- segments --------------------------------------------------------------------------------

    def _submit_bundle(self, parts: list[bytes], slot: Slot) -> None:
        self._bundles.append(slot)
        self._pipeline.submit(parts, slot)
        self._segments.advance()

    def _on_draft(self, draft: SegmentDraft) -> None:
        self._bundler.segment_ended()
        self._segments.add(draft)

    def _finish(self) -> Outcome:
        self._writer.end()
        self._bundler.end()
        segments = self._segments.finish()
        self._pipeline.finish()
        self._tally.bytes_read += self._reader.bytes_read
        self._tally.tell()
        counts = Counts()
        for segment in segments:
            counts.add(segment.counts)
        bundles = {slot.id: slot.length for slot in self._bundles}
        return Outcome(segments, bundles, counts, frozenset(self._half_read))


def _parent_of(path: bytes) -> bytes:
    """The directory that holds it; empty for the root, which has none."""
    parent = os.path.dirname(path)
    return b"" if parent == path else parent


def _state(entry: Entry, known: Known | None) -> FileState:
    """Whether a file that was read is new, changed, or what it was (only its times could not be trusted)."""
    if known is None:
        return "new"
    old = known.entry
    is_same = (
        old.digest == entry.digest
        and old.type == entry.type
        and old.mtime_ns == entry.mtime_ns
        and (old.mode, old.uid, old.gid, old.xattrs) == (entry.mode, entry.uid, entry.gid, entry.xattrs)
    )
    return "unmodified" if is_same and entry.digest else "changed"
