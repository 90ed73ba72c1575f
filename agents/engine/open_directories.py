"""Directories of a restore's target, reached one component at a time from the target itself and never through a link.

Every other way to name a place (a joined path, `..`, a link made a moment ago) could lead out of the target; a
descriptor that was opened with O_NOFOLLOW from its parent's descriptor cannot.
"""

from __future__ import annotations

import errno
import os
from collections import OrderedDict

from agents.engine.paths import MAX_PATH

KEPT = 64
"""Descriptors kept open. Far under the usual limit of 1,024, and trees a thousand levels deep need no more."""
DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class PlacingFault(Exception):
    """One entry cannot be placed; the sentence says why. The restore goes on with the next one."""


class HostileEntry(PlacingFault):
    """An entry that no honest agent writes: the manifest was made to do harm, or is damaged."""


def split_path(path: bytes) -> tuple[bytes, ...]:
    """Return a manifest path's components; the root directory has none.

    Raises HostileEntry for whatever is not a plain absolute path: empty components, `.`, `..`, NUL, too long.
    """
    if path == b"/":
        return ()
    if not path.startswith(b"/"):
        raise HostileEntry("its path does not begin with a slash")
    if b"\0" in path:
        raise HostileEntry("its path contains a NUL byte")
    if len(path) > MAX_PATH:
        raise HostileEntry("its path is longer than any that is saved")
    components = tuple(path[1:].split(b"/"))
    if any(component in (b"", b".", b"..") for component in components):
        raise HostileEntry("its path contains an empty component, '.' or '..'")
    return components


class OpenDirectories:
    """Descriptors of directories under one root, most recently used ones kept open.

    A descriptor that `reach` returned is good until the next call. With `fresh`, everything below the root was made by
    this restore, so that a link or file in the way can only come from the manifest.
    """

    def __init__(self, root: int, kept: int = KEPT, *, fresh: bool = True) -> None:
        self._root = root
        self._fresh = fresh
        self._kept = kept
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def reach(self, components: tuple[bytes, ...], make: bool = True) -> int:
        """Return a descriptor of the directory; parents that are missing are made with the usual mode."""
        depth, descriptor = self._nearest(components)
        for index in range(depth, len(components)):
            descriptor = self._step(descriptor, components[index], make)
            self._keep(b"/".join(components[: index + 1]), descriptor)
        return descriptor

    def _nearest(self, components: tuple[bytes, ...]) -> tuple[int, int]:
        path = b"/".join(components)
        for depth in range(len(components), 0, -1):
            if (descriptor := self._open.get(path)) is not None:
                self._open.move_to_end(path)
                return depth, descriptor
            path = path[: -len(components[depth - 1]) - 1]
        return 0, self._root

    def _step(self, parent: int, name: bytes, make: bool) -> int:
        try:
            return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise PlacingFault("its directory is not there any more") from None
        except OSError as fault:
            raise self._not_a_directory(fault) from fault
        try:
            os.mkdir(name, dir_fd=parent)
            return os.open(name, DIRECTORY_FLAGS, dir_fd=parent)
        except OSError as fault:
            raise self._not_a_directory(fault) from fault

    def _not_a_directory(self, fault: OSError) -> PlacingFault:
        """Say why a directory could not be opened; a full disk is not one entry's fault and goes through."""
        ends_everything(fault)
        if fault.errno in (errno.ELOOP, errno.ENOTDIR):
            kind = HostileEntry if self._fresh else PlacingFault
            return kind("one of its parents is a link or no directory")
        return PlacingFault(f"one of its parents cannot be opened ({os.strerror(fault.errno or 0).lower()})")

    def _keep(self, path: bytes, descriptor: int) -> None:
        self._open[path] = descriptor
        while len(self._open) > self._kept:
            os.close(self._open.popitem(last=False)[1])

    def forget_all(self) -> None:
        """Close every kept descriptor."""
        while self._open:
            os.close(self._open.popitem()[1])


def ends_everything(fault: OSError) -> None:
    """Raise the fault again when no further entry could be placed either."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO):
        raise fault
