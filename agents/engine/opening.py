"""Opening sources safely: never through a link, never waiting, never anything but the file that was seen."""

from __future__ import annotations

import errno
import os
import stat

from agents.engine.paths import components

#: O_NONBLOCK: opening a FIFO that took a file's place must not wait for a writer.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
#: Only the owner and root may leave the access time alone; it is tried and, if refused, done without.
_NOATIME = getattr(os, "O_NOATIME", 0)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(name: bytes, directory: int, seen: os.stat_result | None = None) -> tuple[int, os.stat_result]:
    """Open a regular file for reading: (descriptor, fstat). OSError if it is anything else, or not what `seen` saw."""
    try:
        descriptor = os.open(name, _READ | _NOATIME, dir_fd=directory)
    except PermissionError:
        descriptor = os.open(name, _READ, dir_fd=directory)
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or (
        seen is not None and (info.st_ino != seen.st_ino or info.st_dev != seen.st_dev)
    ):
        os.close(descriptor)
        raise OSError(errno.ESTALE, "it was replaced while it was looked at")
    return descriptor, info


def open_directory(name: bytes, parent: int, seen: os.stat_result) -> int:
    """Open a directory for listing; OSError if it is not the directory that `seen` describes."""
    descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    if not is_same(os.fstat(descriptor), seen):
        os.close(descriptor)
        raise OSError(errno.ESTALE, "it was replaced while it was looked at")
    return descriptor


def open_beneath(path: bytes) -> int:
    """Open a directory by its path, name by name from the root, so that no link is followed and no path is too long."""
    descriptor = os.open(b"/", _DIRECTORY)
    for name in components(path):
        try:
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both describe the same inode."""
    return one.st_ino == other.st_ino and one.st_dev == other.st_dev
