"""A drill: a random sample of a snapshot's files is restored for trial, compared, and thrown away.

A file that the budget allows goes the whole way of a restore, into a scratch directory, and is read back from there:
what is compared is what a person would have got. Of a larger one a few chunks in a row are opened in memory. Which
files are tried is drawn anew each time: segments of the manifest by how many entries they hold, then files in them.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blake3 import blake3

from agents.engine.contents import is_untouched
from agents.engine.paths import LONG_PATH, components
from agents.engine.placing import PlacingOptions
from agents.engine.reading import SegmentRead
from agents.engine.restoring import RestoreProgress, Restorer, Target
from agents.errors import Damage, NotFound
from protocol.stored.manifests import ChunkRef, Entry, EntryType, Segment

if TYPE_CHECKING:
    from agents.engine.reading import OpenedSnapshot

MOST_SEGMENTS = 16
"""Parts of the manifest that one drill reads; each may be a few megabytes."""
LARGE_SHARE = 4
"""A file over a quarter of the budget is tried in part: one film must not be the whole sample."""
MOST_PROBED = 8
"""Chunks of such a file that are opened: 8 MiB on average, 32 at most."""
READ = 1 << 20


@dataclass(frozen=True)
class Sample:
    """How much is tried at most. `bytes` also bounds what stands in the scratch directory at any time."""

    files: int
    bytes: int


@dataclass
class DrillResult:
    """What came of it, in figures. A fault is a file that did not come back as it was saved, for whatever reason.

    `damaged`: faults whose reason is the stored data. `in_part`: files of which only some chunks were tried.
    `compared`: files that were compared with those on the machine too; `differ`: those that are not the same, although
    size and time say so.
    """

    files: int = 0
    in_part: int = 0
    bytes: int = 0
    faults: int = 0
    damaged: int = 0
    compared: int = 0
    differ: int = 0


@dataclass(frozen=True)
class _Drawn:
    """A file of the sample, with what is needed to fetch its content."""

    entry: Entry
    chunks: list[ChunkRef]
    block: bytes


class Drill:
    """One drill of a snapshot. Use `run` once."""

    def __init__(
        self,
        snapshot: OpenedSnapshot,
        scratch: Path,
        sample: Sample,
        progress: RestoreProgress,
        *,
        compare: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        """`compare`: the snapshot is this machine's own, so its files may be looked at where they lie."""
        self._snapshot = snapshot
        self._scratch = scratch
        self._sample = sample
        self._progress = progress
        self._compare = compare
        self._rng = rng or random.SystemRandom()
        self.result = DrillResult()

    def run(self) -> DrillResult:
        """Try the sample. Raises AgentError when it cannot go on; what was found until then is in `result`."""
        for number, drawn in enumerate(self._draw()):
            left = self._sample.bytes - self.result.bytes
            if number >= self._sample.files or left <= 0:
                break
            try:
                self._try(drawn, left, self._scratch / str(number))
            except Damage as fault:
                self._fault(drawn.entry.path, fault.what, damaged=True)
        return self.result

    # --- drawing ---------------------------------------------------------------------------------

    def _draw(self) -> Iterator[_Drawn]:
        """Files at random, a fair share of each drawn part of the manifest, in an order that favours none."""
        parts = [part for part in self._snapshot.segments() if part.ref.entries] if self._is_small() else self._some()
        share = -(-self._sample.files // max(len(parts), 1))
        drawn = [one for part in parts for one in self._files_of(part, share)]
        self._rng.shuffle(drawn)
        yield from drawn

    def _is_small(self) -> bool:
        return len(self._snapshot.body.segments) <= MOST_SEGMENTS

    def _some(self) -> list[SegmentRead]:
        refs = self._snapshot.body.segments
        weights = [ref.entries for ref in refs]
        chosen = set(self._rng.choices(range(len(refs)), weights, k=MOST_SEGMENTS)) if any(weights) else set()
        return [self._snapshot.segment(refs[index]) for index in sorted(chosen)]

    def _files_of(self, part: SegmentRead, share: int) -> list[_Drawn]:
        try:
            segment: Segment = part.read()
        except Damage as fault:
            self._fault(part.ref.first_path, f"the list of files from here on is lost: {fault.what}", damaged=True)
            return []
        files = [entry for entry in segment.entries if entry.type == EntryType.FILE]
        # A small manifest has few parts, and one of them may hold nearly all files: more than its share is drawn.
        most = self._sample.files if self._is_small() else share
        chosen = self._rng.sample(files, min(most, len(files)))
        return [_Drawn(entry, segment.chunks, part.ref.block_id) for entry in chosen]

    # --- trying ----------------------------------------------------------------------------------

    def _try(self, drawn: _Drawn, left: int, scratch: Path) -> None:
        entry = drawn.entry
        in_parts = entry.part > 0 or not entry.last
        too_large = entry.size > min(left, self._sample.bytes // LARGE_SHARE)
        if in_parts or too_large or len(entry.path) > LONG_PATH:
            self._probe(drawn)
        elif self._restore(entry, scratch) and self._compare:
            self._look_at_the_machine(entry)

    def _restore(self, entry: Entry, scratch: Path) -> bool:
        """The whole way of a restore, and its result read back. Returns whether the file came back as it was."""
        quiet = _Quiet(self._progress)
        try:
            with Target(scratch, overwrite=False) as root:
                done = Restorer(self._snapshot, entry.path, root, PlacingOptions(), quiet).run()
                for fault in done.faults:
                    self._fault(fault.path, fault.reason, damaged=fault.damaged)
                if done.errors or not done.files:
                    return self._missing(entry) if not done.errors else False
                return self._read_back(entry, root)
        except NotFound:
            return self._missing(entry)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _missing(self, entry: Entry) -> bool:
        self._fault(entry.path, "the snapshot lists it, and a restore does not find it", damaged=True)
        return False

    def _read_back(self, entry: Entry, root: int) -> bool:
        descriptor = _open_below(root, entry.path)
        try:
            size, digest = _digest_of(descriptor)
        finally:
            os.close(descriptor)
        if size != entry.size or digest != (entry.digest or digest):
            self._fault(entry.path, "what was restored is not what was saved", damaged=False)
            return False
        self.result.files += 1
        self.result.bytes += size
        return True

    def _probe(self, drawn: _Drawn) -> None:
        """Open some chunks in a row, each of which has to match its recorded hash."""
        extents = drawn.entry.extents
        start = self._rng.randrange(len(extents)) if extents else 0
        run = extents[start : start + MOST_PROBED]
        refs = {drawn.chunks[extent.chunk].id: drawn.chunks[extent.chunk] for extent in run}
        sealed = self._snapshot.fetch(drawn.block, list(refs)) if refs else {}
        size = 0
        for extent in run:
            ref = drawn.chunks[extent.chunk]
            plaintext = self._snapshot.opener.open(sealed[ref.id].result(), ref.id, ref.hash)
            if extent.offset + extent.length > len(plaintext):
                raise Damage("its content points outside of a chunk")
            size += extent.length
        self.result.files += 1
        self.result.in_part += 1
        self.result.bytes += size
        self._progress.restored(1, size)

    # --- the machine's own file ------------------------------------------------------------------

    def _look_at_the_machine(self, entry: Entry) -> None:
        """Where size and time say that the file is the same still, its content has to be."""
        try:
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return  # removed, or not to be read now: nothing to compare
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode) or (before.st_size, before.st_mtime_ns) != (entry.size, entry.mtime_ns):
                return
            _, digest = _digest_of(descriptor)
            if not is_untouched(before, os.fstat(descriptor)):
                return
        except OSError:
            return
        finally:
            os.close(descriptor)
        self.result.compared += 1
        if entry.digest and digest != entry.digest:
            self.result.differ += 1
            self._progress.error(entry.path, "on this machine it is not what the snapshot holds; size and time are")

    def _fault(self, path: bytes, reason: str, *, damaged: bool) -> None:
        self.result.faults += 1
        self.result.damaged += damaged
        self._progress.error(path, reason)


class _Quiet:
    """Passes on what was restored. Owners and times that could not be set here are no news in a trial."""

    def __init__(self, progress: RestoreProgress) -> None:
        self._progress = progress

    def restored(self, files: int, size: int) -> None:
        self._progress.restored(files, size)

    def error(self, path: bytes, reason: str) -> None:
        pass


def _open_below(root: int, path: bytes) -> int:
    """Open a file under the scratch directory, component by component and without following a link."""
    *way, name = components(path)
    directory = os.dup(root)
    try:
        for step in way:
            deeper = os.open(step, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = deeper
        os.chmod(name, 0o600, dir_fd=directory)  # its own mode may not let us read it
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)


def _digest_of(descriptor: int) -> tuple[int, bytes]:
    hasher, size = blake3(), 0
    while data := os.read(descriptor, READ):
        hasher.update(data)
        size += len(data)
    return size, hasher.digest()
