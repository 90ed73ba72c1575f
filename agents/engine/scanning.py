"""Walking the sources in path order without following a link, however deep they go.

Every directory is opened relative to its parent's descriptor with O_NOFOLLOW, so nobody can swap a link into the way,
and a path may be longer than PATH_MAX. There is no recursion. What vanishes or cannot be read is named to the listener
and the walk goes on. The directories on the way from `/` to a source are told too (only they, not their other
contents), so that a restore can give them their owner and mode.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence

from agents.engine.exclusions import (
    PSEUDO_DIRECTORIES,
    SWAP_FILES,
    TAG_NAME,
    TAG_SIGNATURE,
    Exclusions,
    pseudo_mounts,
)
from agents.engine.opening import open_beneath, open_directory, open_regular
from agents.engine.paths import MAX_PATH, ROOT, components, prefix_of

#: (path, name in its directory, what lstat said, descriptor of its directory). The descriptor is open until the next
#: one is asked for.
Found = tuple[bytes, bytes, os.stat_result, int]
FaultListener = Callable[[bytes, str], None]

#: Directories that are kept open on the way down. Those above are opened again on the way back.
MAX_OPEN = 128

_ENCODING = sys.getfilesystemencoding()
_TYPE = 0o170000
_DIRECTORY = 0o040000


class _Level:
    """A directory on the way down: what is still to be told of it."""

    __slots__ = ("bridge", "descriptor", "device", "names", "path", "prefix")

    def __init__(self, path: bytes, descriptor: int, names: Iterator[bytes], device: int, *, bridge: bool) -> None:
        self.path = path
        self.prefix = prefix_of(path)
        self.descriptor = descriptor
        self.names = names
        self.device = device
        self.bridge = bridge


class Scanner:
    """One walk over normalised sources. Iterate it once, to the end or not; then `close` it."""

    def __init__(
        self,
        sources: Sequence[bytes],
        exclusions: Exclusions,
        on_fault: FaultListener,
        *,
        one_file_system: bool = False,
        leave_out: frozenset[bytes] = frozenset(),
    ) -> None:
        self._sources = frozenset(sources)
        self._ways = _ways_to(sources)
        self._exclusions = exclusions
        self._limits = exclusions.limits
        self._on_fault = on_fault
        self._one_file_system = one_file_system
        self._closed_directories: frozenset[bytes] = frozenset()
        self._left_out = leave_out
        if exclusions.defaults:
            self._closed_directories = PSEUDO_DIRECTORIES | pseudo_mounts()
            self._left_out = leave_out | SWAP_FILES
        self._levels: list[_Level] = []

    def __iter__(self) -> Iterator[Found]:
        try:
            yield from self._walk()
        finally:
            self.close()

    def close(self) -> None:
        """Close every directory that is still open."""
        for level in self._levels:
            _close(level)
        self._levels.clear()

    def _walk(self) -> Iterator[Found]:
        top = os.open(ROOT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            info = os.stat(b".", dir_fd=top)
            yield ROOT, b".", info, top
            self._enter(ROOT, b".", top, info, bridge=ROOT not in self._sources, device=info.st_dev)
        finally:
            os.close(top)
        # The generator's frame is the hot loop of a backup without changes: everything it needs is at hand.
        levels, lstat = self._levels, os.stat
        has_rules = self._exclusions.has_patterns or self._limits is not None
        left_out, is_special = self._left_out, self._is_special
        while levels:
            level = levels[-1]
            descriptor, prefix = self._descriptor_of(level), level.prefix
            if descriptor < 0:
                levels.pop()
                continue
            for name in level.names:
                path = prefix + name
                try:
                    info = lstat(name, dir_fd=descriptor, follow_symlinks=False)
                except OSError as fault:
                    self._report(path, fault)
                    continue
                directory = info.st_mode & _TYPE == _DIRECTORY
                if (
                    (has_rules or path in left_out)
                    and not level.bridge
                    and self._is_left_out(path, directory, info)
                    and not is_special(path)
                ):
                    continue
                yield path, name, info, descriptor
                if directory:
                    self._descend(level, path, name, descriptor, info)
                    break
            else:
                _close(levels.pop())

    def _is_special(self, path: bytes) -> bool:
        """Whether a source is here or below: then no exclusion applies to the path itself."""
        return path in self._sources or path in self._ways

    def _is_left_out(self, path: bytes, directory: bool, info: os.stat_result) -> bool:
        if path in self._left_out or self._exclusions.excludes(path, directory=directory):
            return True
        return self._limits is not None and self._limits.excludes(info)

    def _descend(self, level: _Level, path: bytes, name: bytes, parent: int, info: os.stat_result) -> None:
        if path in self._sources:
            return self._enter(path, name, parent, info, bridge=False, device=info.st_dev)
        bridge = level.bridge or self._is_closed(path, info, level.device)
        if not bridge and path in self._ways and self._exclusions.excludes(path, directory=True):
            bridge = True
        if not bridge or path in self._ways:
            return self._enter(path, name, parent, info, bridge=bridge, device=level.device)
        return None

    def _is_closed(self, path: bytes, info: os.stat_result, device: int) -> bool:
        return path in self._closed_directories or (self._one_file_system and info.st_dev != device)

    def _enter(self, path: bytes, name: bytes, parent: int, info: os.stat_result, *, bridge: bool, device: int) -> None:
        try:
            descriptor = open_directory(name, parent, info)
            try:
                names = self._bridge_names(path) if bridge else self._names(path, descriptor)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as fault:
            self._report(path, fault)
            return
        if len(self._levels) >= MAX_OPEN:
            _close(self._levels[len(self._levels) - MAX_OPEN])
        self._levels.append(_Level(path, descriptor, iter(names), device, bridge=bridge))

    def _bridge_names(self, path: bytes) -> list[bytes]:
        return sorted(self._ways[path])

    def _names(self, path: bytes, descriptor: int) -> list[bytes]:
        names = sorted([name.encode(_ENCODING, "surrogateescape") for name in os.listdir(descriptor)])
        if len(path) + 256 > MAX_PATH and names:
            raise OSError(0, "its contents lie too deep to be saved")
        if self._exclusions.cache_tags and TAG_NAME in names and _is_cache(descriptor):
            keep = self._ways.get(path, frozenset()) | {TAG_NAME}
            return [name for name in names if name in keep]
        return names

    def _descriptor_of(self, level: _Level) -> int:
        """The level's descriptor, opened again from the root if it was closed; -1 if that is not possible."""
        if level.descriptor < 0:
            try:
                level.descriptor = open_beneath(level.path)
            except OSError as fault:
                self._report(level.path, fault)
        return level.descriptor

    def _report(self, path: bytes, fault: OSError) -> None:
        self._on_fault(path, reason_of(fault))


def reason_of(fault: OSError) -> str:
    """An error of the system in words, without its path."""
    return (fault.strerror or os.strerror(fault.errno or 0)).lower()


def _ways_to(sources: Sequence[bytes]) -> dict[bytes, frozenset[bytes]]:
    """For each directory above a source: the names in it that lead to sources."""
    ways: dict[bytes, set[bytes]] = {}
    for source in sources:
        directory = ROOT
        for name in components(source):
            ways.setdefault(directory, set()).add(name)
            directory = prefix_of(directory) + name
    return {directory: frozenset(names) for directory, names in ways.items()}


def _is_cache(descriptor: int) -> bool:
    try:
        tag, _ = open_regular(TAG_NAME, descriptor)
    except OSError:
        return False
    try:
        return os.read(tag, len(TAG_SIGNATURE)) == TAG_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(tag)


def _close(level: _Level) -> None:
    if level.descriptor >= 0:
        os.close(level.descriptor)
        level.descriptor = -1


def is_directory(info: os.stat_result) -> bool:
    """Whether lstat saw a directory."""
    return stat.S_ISDIR(info.st_mode)
