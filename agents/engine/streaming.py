"""One pass over a stream: what comes out of a pipe becomes one file of a snapshot, and is never kept anywhere.

A pipe has no owner, mode or time; the file gets this process's user, 0600, and the moment at which the backup began.
It cannot be read twice: what the server loses between put and commit is lost, and the backup says so.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.engine.chunking import Filler
from agents.engine.compression import group_of
from agents.engine.describing import UNTRUSTED, Key, group_name, user_name
from agents.engine.large_files import LargeFileReader
from agents.engine.manifests import Counts, SegmentDraft, SegmentWriter
from agents.engine.paths import MAX_PATH, ROOT, components, prefix_of
from agents.engine.saving import Outcome, Parts
from agents.engine.segment_queue import SegmentQueue
from agents.engine.slots import Reference
from agents.errors import UsageFault
from protocol.stored.manifests import Entry, EntryType


@dataclass(frozen=True)
class Stream:
    """A file to be: its absolute path in the snapshot, and who gives its bytes (0: the end; raises to stop it all)."""

    path: bytes
    fill: Filler


def stream_path(name: bytes) -> bytes:
    """The path in the snapshot of what a user calls `name`. Raises UsageFault when no file can be called so."""
    parts = components(name)
    if not parts or name.endswith(b"/") or b"\0" in name or any(part in (b".", b"..") for part in parts):
        raise UsageFault(
            f"{os.fsdecode(name)!r} is no name for a file.", "Give a name such as dump.sql or db/dump.sql."
        )
    path = ROOT + b"/".join(parts)
    if len(path) > MAX_PATH or max(map(len, parts)) > 255:
        raise UsageFault("The name of the stream is too long.", "Give a shorter one.")
    return path


def reader_of(descriptor: int) -> Filler:
    """Fill from a pipe, a socket or a file."""

    def fill(view: memoryview) -> int:
        return os.readv(descriptor, [view])

    return fill


def save_stream(parts: Parts, stream: Stream) -> Outcome:
    """Save a stream to its end."""
    return _StreamSaver(parts, stream).run()


class _StreamSaver:
    def __init__(self, parts: Parts, stream: Stream) -> None:
        self._parts = parts
        self._stream = stream
        self._segments = SegmentQueue(parts.pipeline, parts.cache)
        self._writer = SegmentWriter(parts.segment_key, self._on_draft)
        self._size = 0

    def run(self) -> Outcome:
        path, parts = self._stream.path, self._parts
        for directory in _above(path):
            self._add(directory, EntryType.DIRECTORY, ())
        reader = LargeFileReader(parts.pipeline, parts.chunker, parts.cancel)
        content = reader.read_stream(self._counted(self._stream.fill), group_of(path), self._on_part)
        self._add(
            path,
            EntryType.FILE,
            content.references,
            size=content.size,
            digest=content.digest,
            part=content.part,
        )
        parts.tally.file("new")
        self._writer.end()
        segments = self._segments.finish()
        parts.pipeline.finish()
        parts.tally.bytes_read += reader.bytes_read
        parts.tally.scanned(1, 0)
        parts.tally.tell()
        counts = Counts()
        for segment in segments:
            counts.add(segment.counts)
        return Outcome(segments, {}, counts, frozenset())

    def _counted(self, fill: Filler) -> Callable[[memoryview], int]:
        """Tell the listener about every piece: the size of a stream is not known before its end."""

        def counted(view: memoryview) -> int:
            count = fill(view)
            if count:
                self._parts.tally.grown(count)
            return count

        return counted

    def _on_part(self, references: list[Reference], part: int) -> None:
        self._size += sum(length for _, _, length in references)
        self._add(self._stream.path, EntryType.FILE, references, size=self._size, part=part, last=False)

    def _add(
        self,
        path: bytes,
        kind: EntryType,
        references: Sequence[Reference],
        *,
        size: int = 0,
        digest: bytes = b"",
        part: int = 0,
        last: bool = True,
    ) -> None:
        mode = 0o600 if kind == EntryType.FILE else 0o700
        uid, gid, when = os.geteuid(), os.getegid(), self._parts.started_ns
        entry = Entry(
            path=path,
            type=kind,
            mode=mode,
            uid=uid,
            gid=gid,
            user=user_name(uid),
            group=group_name(gid),
            size=size,
            mtime_ns=when,
            extents=[],
            digest=digest,
            part=part,
            last=last,
        )
        full_mode = mode | (stat.S_IFREG if kind == EntryType.FILE else stat.S_IFDIR)
        key: Key | None = (path, full_mode, uid, gid, size, when, UNTRUSTED, 0) if part == 0 else None
        self._writer.add(entry, references, key)

    def _on_draft(self, draft: SegmentDraft) -> None:
        self._segments.add(draft)


def _above(path: bytes) -> list[bytes]:
    """The directories on the way to a path, from the root."""
    ways, directory = [ROOT], ROOT
    for name in components(path)[:-1]:
        directory = prefix_of(directory) + name
        ways.append(directory)
    return ways
