"""File layers that record, delay or fail: what a test needs to see the order, or a disk that breaks."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from backup_platform.gateway.file_layer import Buffer, FileLayer


class SlowFileLayer(FileLayer):
    """Every write takes `seconds` more."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def write(self, fd: int, buffers: Sequence[Buffer]) -> int:
        time.sleep(self.seconds)
        return super().write(fd, buffers)


class RecordingFileLayer(FileLayer):
    """Appends what happened to `log`, in order, once it has happened."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self.log.append(f"create {path.suffix}")
        return fd

    def write(self, fd: int, buffers: Sequence[Buffer]) -> int:
        written = super().write(fd, buffers)
        self.log.append("write")
        return written

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        self.log.append("fdatasync")

    def fsync_directory(self, path: Path) -> None:
        super().fsync_directory(path)
        self.log.append("fsync directory")

    def rename(self, source: Path, destination: Path) -> None:
        super().rename(source, destination)
        self.log.append(f"rename {source.suffix} {destination.suffix}")

    def unlink(self, path: Path) -> None:
        existed = path.exists()
        super().unlink(path)
        if existed:
            self.log.append(f"unlink {path.suffix}")


class BreakableFileLayer(RecordingFileLayer):
    """Fails the call named in `broken` with that error number, for as long as it stands there."""

    def __init__(self) -> None:
        super().__init__([])
        self.broken: dict[str, int] = {}
        self.short = 0
        self.touched_after_fault: list[str] = []
        self._dead: set[str] = set()

    def write(self, fd: int, buffers: Sequence[Buffer]) -> int:
        self._check("write", fd)
        if self.short:
            return super().write(fd, [bytes(memoryview(buffers[0])[: self.short])])
        return super().write(fd, buffers)

    def fdatasync(self, fd: int) -> None:
        self._check("fdatasync", fd)
        super().fdatasync(fd)

    def fsync_directory(self, path: Path) -> None:
        self._check("fsync_directory", -1)
        super().fsync_directory(path)

    def rename(self, source: Path, destination: Path) -> None:
        self._check("rename", -1)
        super().rename(source, destination)

    def free_bytes(self, path: Path) -> int:
        return 0 if self.broken.get("free_bytes") else super().free_bytes(path)

    def _check(self, call: str, fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}") if fd >= 0 else ""
        if path in self._dead:
            self.touched_after_fault.append(call)
        if call in self.broken:
            if path:
                self._dead.add(path)
            raise OSError(self.broken[call], os.strerror(self.broken[call]))


EIO, ENOSPC = errno.EIO, errno.ENOSPC
