"""Restoring a snapshot, or a part of it, under one directory.

Entries are met in path order; their chunks are fetched and opened some way ahead. What cannot be restored (a damaged
chunk, a hostile entry, a name that is taken) is named and left out, and everything else is restored: no file ever has
its real name before its whole content was checked.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from agents.engine.chunk_supply import ChunkSupply
from agents.engine.collecting import few_collections
from agents.engine.open_directories import HostileEntry, PlacingFault
from agents.engine.paths import ROOT, display, is_within
from agents.engine.placing import FilePlacing, Placer, PlacingOptions
from agents.engine.reading import OpenedSnapshot, PathOrder
from agents.engine.small_files import SmallFiles, begin, is_plain
from agents.errors import AgentError, Damage, NotFound, UsageFault
from protocol.stored.manifests import ChunkRef, Entry, EntryType, Extent, Segment

if TYPE_CHECKING:
    from types import TracebackType

PLANNED_STEPS = 20_000
"""Steps planned ahead: a bound for runs of entries without content."""
PLANNED_BYTES = 32 << 20
"""What their entries may hold: attributes and link targets can be as large as a whole part of the manifest."""
NAMED = 1_000
NAMED_PATH = 4_096
"""Faults kept for the report, and how much of their paths; the count goes on."""
LINK_GROUPS = 200_000
LINK_PATHS = 32 << 20
"""Groups of hard links remembered, and bytes of their paths; names of further groups become files of their own."""

_SMALL = PLANNED_BYTES // PLANNED_STEPS
"""What a small file weighs beside its path, so that of them too no more than PLANNED_STEPS are planned."""
_PAIR = 100
"""About what Python keeps for two small objects in a pair."""
_OTHERS = {
    EntryType.FIFO: "a fifo",
    EntryType.SOCKET: "a socket",
    EntryType.CHARACTER_DEVICE: "a character device",
    EntryType.BLOCK_DEVICE: "a block device",
}


class RestoreProgress(Protocol):
    """Who is told how a restore goes."""

    def restored(self, files: int, size: int) -> None:
        """So many more files were placed, with so many bytes."""
        ...

    def error(self, path: bytes, reason: str) -> None:
        """Something was not restored as it was."""
        ...


@dataclass(frozen=True)
class RestoreFault:
    """Something that was not restored; `damaged` when the stored data is the reason, not this machine."""

    path: bytes
    reason: str
    damaged: bool


@dataclass
class RestoreResult:
    """What a restore did. `skipped` counts fifos, sockets and devices, which are named and not made; `kept`: those of
    the files that an earlier restore had left."""

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    bytes: int = 0
    skipped: int = 0
    warnings: int = 0
    errors: int = 0
    damaged: int = 0
    kept: int = 0
    faults: list[RestoreFault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Step:
    """One extent of a file, or an entry without any. `begins` and `ends` mark a file's first and last step."""

    entry: Entry
    ref: ChunkRef | None = None
    extent: Extent | None = None
    begins: bool = True
    ends: bool = True
    kept: bool = False
    """The file is there already, whole."""
    weight: int = 0
    """About what the entry keeps in memory while it waits; of a file's steps only the first counts."""


class Restorer:
    """One restore of `path` (b"/" for all) from a snapshot to a directory. Use `run` once."""

    def __init__(
        self, snapshot: OpenedSnapshot, path: bytes, target: int, options: PlacingOptions, progress: RestoreProgress
    ) -> None:
        self._snapshot = snapshot
        self._path = path
        self._progress = progress
        self._placer = Placer(target, options, self._warn)
        self._resume = options.resume
        self._pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="strongroom-open")
        self._supply = ChunkSupply(snapshot.fetch, snapshot.opener.open, self._pool)
        self._order = PathOrder()
        self._originals: dict[int, tuple[bytes, tuple[object, ...]]] = {}
        self._original_paths = 0
        self._planned_bytes = 0
        self._file: FilePlacing | None = None
        self._under_way: Entry | None = None
        self.result = RestoreResult()

    def run(self) -> RestoreResult:
        """Restore. Raises NotFound when there is nothing at the path, AgentError when it cannot go on."""
        steps, planned = self._steps(), deque[_Step | SmallFiles]()
        met = False
        try:
            with few_collections():
                while self._plan(steps, planned):
                    met = True
                    step = planned.popleft()
                    self._planned_bytes -= step.weight
                    if isinstance(step, SmallFiles):
                        self._place_small(step)
                    else:
                        self._do(step)
                self._give_up_unfinished()
                self._placer.finish(self._refused)
            self.result.symlinks = self._placer.links_made
        except OSError as fault:
            raise AgentError(
                f"The restore stopped: {os.strerror(fault.errno or 0).lower()}.",
                "Mend that, then restore into a fresh directory, or into this one with --overwrite.",
            ) from fault
        finally:
            self._leave_file()
            self._placer.close()
            self._pool.shutdown(wait=True, cancel_futures=True)
        if not met and not self.result.damaged:
            raise NotFound(
                f"The snapshot holds nothing at {display(self._path)}.", "`strongroom ls SNAPSHOT` shows what it holds."
            )
        return self.result

    # --- planning --------------------------------------------------------------------------------

    def _plan(self, steps: Iterator[_Step | SmallFiles], planned: deque[_Step | SmallFiles]) -> bool:
        """Look ahead while there is room. Returns whether there is anything to do."""
        while len(planned) < PLANNED_STEPS and self._planned_bytes < PLANNED_BYTES and self._supply.room:
            step = next(steps, None)
            if step is None:
                break
            self._planned_bytes += step.weight
            planned.append(step)
        return bool(planned)

    def _steps(self) -> Iterator[_Step | SmallFiles]:
        for asked in self._snapshot.segments(self._path):
            try:
                segment = asked.read()
            except Damage as fault:
                self._lost_segment(asked.ref.first_path, asked.ref.last_path, fault)
                continue
            yield from self._steps_of_segment(segment, asked.ref.block_id)

    def _steps_of_segment(self, segment: Segment, block: bytes) -> Iterator[_Step | SmallFiles]:
        """Small files that lie side by side go in lots, everything else step by step, all in the manifest's order."""
        everything, lot = self._path == ROOT, None
        for entry in segment.entries:
            # With everything asked for, a path that is not even absolute shall be named, not passed over.
            if not (everything or is_within(entry.path, self._path)) or not self._in_order(entry):
                continue
            plain = self._placer.is_fresh and is_plain(entry)
            if lot is not None:
                if plain and lot.take(entry, _SMALL + len(entry.path)):
                    continue
                yield self._expected(lot, block)
            lot = begin(entry, segment.chunks, _SMALL + len(entry.path)) if plain else None
            if lot is None:
                yield from self._steps_of(entry, segment.chunks, block)
        if lot is not None:
            yield self._expected(lot, block)

    def _expected(self, lot: SmallFiles, block: bytes) -> SmallFiles:
        self._supply.expect(block, lot.ref)
        return lot

    def _steps_of(self, entry: Entry, chunks: list[ChunkRef], block: bytes) -> Iterator[_Step]:
        if entry.type != EntryType.FILE or not entry.extents:
            yield _Step(entry, begins=entry.part == 0, ends=entry.last, weight=_weight(entry))
            return
        if self._resume and _may_be_kept(entry) and self._placer.keeps(entry):
            yield _Step(entry, kept=True, weight=_weight(entry))
            return
        final = len(entry.extents) - 1
        for index, extent in enumerate(entry.extents):
            ref = chunks[extent.chunk]
            self._supply.expect(block, ref)
            begins, ends = entry.part == 0 and index == 0, entry.last and index == final
            yield _Step(entry, ref, extent, begins, ends, weight=0 if index else _weight(entry))

    def _in_order(self, entry: Entry) -> bool:
        try:
            self._order.check(entry)
        except HostileEntry as fault:
            self._fault(entry.path, str(fault), damaged=True)
            return False
        return True

    def _lost_segment(self, first: bytes, last: bytes, fault: Damage) -> None:
        self._fault(first, f"the list of everything from here to the next path is lost: {fault.what}", damaged=True)
        if last != first:
            self._fault(last, "the lost part of the list ends here", damaged=True)

    # --- doing -----------------------------------------------------------------------------------

    def _place_small(self, lot: SmallFiles) -> None:
        self._give_up_unfinished()
        try:
            plaintext = self._supply.take(lot.ref)
        except Damage as fault:
            for entry in lot.entries:
                self._fault(entry.path, fault.what, damaged=True)
            return
        files, size = self._placer.small_files(lot, plaintext, self._refused)
        self.result.files += files
        self.result.bytes += size
        self._progress.restored(files, size)

    def _do(self, step: _Step) -> None:
        if step.begins:
            self._give_up_unfinished()
        try:
            self._place(step)
        except PlacingFault as fault:
            self._give_up(step.entry, str(fault), damaged=isinstance(fault, HostileEntry))
        except Damage as fault:
            self._give_up(step.entry, fault.what, damaged=True)

    def _place(self, step: _Step) -> None:
        entry = step.entry
        if step.kept:
            self._remember_link(entry)
            self._count(entry)
            self.result.kept += 1
        elif entry.type == EntryType.FILE:
            self._place_file(step)
        elif entry.part or not entry.last:
            raise HostileEntry("it comes in parts, and is no file")
        elif entry.type == EntryType.DIRECTORY:
            self._placer.directory(entry)
            self.result.directories += 1
        elif entry.type == EntryType.SYMLINK:
            self._placer.symlink(entry)
        else:
            self.result.skipped += 1
            self._progress.error(entry.path, f"{_OTHERS[EntryType(entry.type)]} is not restored")

    def _place_file(self, step: _Step) -> None:
        """Do one step of a file. A file without a `_file` was left or linked: its further steps are passed over."""
        if step.begins:
            try:
                self._begin(step)
            except BaseException:
                self._pass_over(step)
                raise
        if self._file is None:
            self._pass_over(step)
            return
        if step.ref is not None and step.extent is not None:
            self._write(self._file, step.entry, step.extent, self._supply.take(step.ref))
        if step.ends:
            self._finish(self._file, step.entry)

    def _begin(self, step: _Step) -> None:
        if self._is_known_link(step.entry):
            self._placer.hard_link(step.entry, self._originals[step.entry.hardlink][0])
            self._count(step.entry)
        else:
            self._file = self._placer.file(step.entry)
            self._under_way = step.entry

    def _write(self, file: FilePlacing, entry: Entry, extent: Extent, plaintext: bytes) -> None:
        end = extent.offset + extent.length
        if end > len(plaintext):
            raise HostileEntry("its content points outside of a chunk")
        # A file that grew while it was saved in parts has its size in the last one, where the sum is checked.
        if entry.last and file.position + extent.length > entry.size:
            raise HostileEntry("its content is longer than its entry says")
        file.write(memoryview(plaintext)[extent.offset : end])

    def _finish(self, file: FilePlacing, entry: Entry) -> None:
        file.finish(entry)
        self._leave_file()
        self._remember_link(entry)
        self._count(entry)

    def _pass_over(self, step: _Step) -> None:
        if step.ref is not None:
            self._supply.release(step.ref)

    def _give_up(self, entry: Entry, reason: str, *, damaged: bool) -> None:
        self._leave_file()
        self._fault(entry.path, reason, damaged=damaged)

    def _give_up_unfinished(self) -> None:
        if self._under_way is not None:
            self._give_up(self._under_way, "its end is missing from the manifest", damaged=True)

    def _leave_file(self) -> None:
        """Close the file under way; what was not finished leaves nothing behind."""
        file, self._file, self._under_way = self._file, None, None
        if file is not None:
            file.close()

    # --- hard links ------------------------------------------------------------------------------

    def _remember_link(self, entry: Entry) -> None:
        if not _may_be_linked(entry) or entry.hardlink in self._originals:
            return
        if len(self._originals) < LINK_GROUPS and self._original_paths + len(entry.path) <= LINK_PATHS:
            self._original_paths += len(entry.path)
            self._originals[entry.hardlink] = (entry.path, _sameness(entry))

    def _is_known_link(self, entry: Entry) -> bool:
        """Whether an equal file of the same group is placed already. The hash decides: a number proves nothing."""
        known = self._originals.get(entry.hardlink) if _may_be_linked(entry) else None
        return known is not None and known[1] == _sameness(entry)

    # --- counting --------------------------------------------------------------------------------

    def _count(self, entry: Entry) -> None:
        self.result.files += 1
        self.result.bytes += entry.size
        self._progress.restored(1, entry.size)

    def _warn(self, path: bytes, reason: str) -> None:
        self.result.warnings += 1
        self._progress.error(path, reason)

    def _refused(self, path: bytes, fault: PlacingFault) -> None:
        self._fault(path, str(fault), damaged=isinstance(fault, HostileEntry))

    def _fault(self, path: bytes, reason: str, *, damaged: bool) -> None:
        self.result.errors += 1
        self.result.damaged += damaged
        if len(self.result.faults) < NAMED:
            self.result.faults.append(RestoreFault(path[:NAMED_PATH], reason, damaged))
        self._progress.error(path, reason)


def _weight(entry: Entry) -> int:
    attributes = sum(len(name) + len(value) + _PAIR for name, value in entry.xattrs)
    return len(entry.path) + len(entry.link) + attributes + _PAIR * (len(entry.sparse) + len(entry.extents))


def _may_be_kept(entry: Entry) -> bool:
    """Files in parts tell their hash at their end only, and those with very large holes never."""
    return bool(entry.digest and entry.part == 0 and entry.last)


def _may_be_linked(entry: Entry) -> bool:
    return bool(entry.hardlink and entry.digest and entry.part == 0 and entry.last)


def _sameness(entry: Entry) -> tuple[object, ...]:
    """What all names of one file share. Numbers of groups are made of device and inode, and both are used again."""
    return entry.digest, entry.size, entry.mode, entry.uid, entry.gid, entry.mtime_ns


class Target:
    """The directory that a restore writes to: made if it is missing, empty unless `overwrite` says otherwise."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not overwrite and os.listdir(path):
                raise UsageFault(
                    f"The target {path} is not empty.",
                    "Name a fresh directory, or give --overwrite to restore into it.",
                )
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as fault:
            raise UsageFault(
                f"The target {path} cannot be used: {(fault.strerror or 'unknown reason').lower()}.",
                "Name a directory that you may write to.",
            ) from fault

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
