"""A file layer whose disk forgets what was not fsynced, as a power cut makes it do."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from backup_platform.gateway.file_layer import Buffer, FileLayer


class ForgetfulFileLayer(FileLayer):
    """Fails every call after the `allowed`th: from then on the machine has no power.

    `cut_power` then takes away what no fdatasync and no directory fsync had made safe: bytes appended since, names
    made since; a rename since then is undone, and what was removed since then is back.
    """

    def __init__(self, allowed: int = 1_000) -> None:
        self.allowed = allowed
        self._lock = Lock()
        self._safe_size: dict[Path, int] = {}
        self._undo: list[tuple[Path, Path | None, bytes]] = []
        """Changes of names since their directory's last fsync: (name, earlier name or None if it was made, content)."""
        self.is_cut = False

    def _spend(self) -> None:
        with self._lock:
            if self.allowed <= 0:
                self.is_cut = True
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self.allowed -= 1

    def create(self, path: Path) -> int:
        self._spend()
        descriptor = super().create(path)
        self._safe_size[path] = 0
        self._undo.append((path, None, b""))
        return descriptor

    def write(self, fd: int, buffers: Sequence[Buffer]) -> int:
        self._spend()
        return super().write(fd, buffers)

    def fdatasync(self, fd: int) -> None:
        self._spend()
        super().fdatasync(fd)
        self._safe_size[Path(os.readlink(f"/proc/self/fd/{fd}"))] = os.fstat(fd).st_size

    def fsync_directory(self, path: Path) -> None:
        self._spend()
        super().fsync_directory(path)
        self._undo = [change for change in self._undo if change[0].parent != path]

    def rename(self, source: Path, destination: Path) -> None:
        self._spend()
        super().rename(source, destination)
        self._safe_size[destination] = self._safe_size.pop(source, 0)
        self._undo.append((destination, source, b""))

    def unlink(self, path: Path) -> None:
        self._spend()
        content = path.read_bytes() if path.exists() else None
        super().unlink(path)
        if content is not None:
            self._undo.append((path, path, content))

    def cut_power(self) -> None:
        """Bring the directory to the worst state that a disk may show after the cut."""
        for path, size in self._safe_size.items():
            if path.exists():
                os.truncate(path, min(size, path.stat().st_size))
        for path, earlier, content in reversed(self._undo):
            if earlier is None:
                path.unlink(missing_ok=True)
            elif earlier == path:
                path.write_bytes(content)
            elif path.exists():
                path.rename(earlier)
