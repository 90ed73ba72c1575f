"""Every system call that durability depends on, in one seam: tests inject faults here and record the order."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

Buffer = bytes | bytearray | memoryview
MAX_BUFFERS = 1024  # IOV_MAX of Linux


class FileLayer:
    """Files of the spool. All calls block, raise OSError, and are made off the event loop."""

    def create(self, path: Path) -> int:
        """A new file, append-only: a name is never used twice, and no write can land on earlier bytes."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, buffers: Sequence[Buffer]) -> int:
        """Append the beginning of `buffers`; returns how many bytes were taken, which may be fewer than given."""
        return os.writev(fd, buffers)

    def fdatasync(self, fd: int) -> None:
        """The file's bytes and its size are on the disk when this returns."""
        os.fdatasync(fd)

    def fsync_directory(self, path: Path) -> None:
        """The directory's names are on the disk when this returns."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def rename(self, source: Path, destination: Path) -> None:
        """Atomic within the spool's directory."""
        source.rename(destination)

    def link(self, source: Path, destination: Path) -> None:
        """A second name for a file, where the file system knows such; a name that is there already is fine."""
        try:
            destination.hardlink_to(source)
        except OSError as fault:
            if fault.errno not in (errno.EEXIST, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                raise

    def unlink(self, path: Path) -> None:
        """Remove a name; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def free_bytes(self, path: Path) -> int:
        """What an ordinary user may still write to this file system."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


def write_all(files: FileLayer, fd: int, buffers: Sequence[Buffer]) -> int:
    """Append all of `buffers`, going on after short writes; returns their size in bytes.

    A write that takes nothing is an error: without it a full pipe-like file would spin here for ever.
    """
    left = [memoryview(buffer).cast("B") for buffer in buffers if len(buffer)]
    total = sum(len(buffer) for buffer in left)
    while left:
        written = files.write(fd, left[:MAX_BUFFERS])
        if written <= 0:
            raise OSError("the file system took no bytes of a write")
        left = _after(left, written)
    return total


def _after(buffers: list[memoryview], written: int) -> list[memoryview]:
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [buffer[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []
