"""Blocks of packs that were read from targets, kept on this host's disk up to a limit; the least used go first.

What lies here is believed no more than what a target says: every record is checked against its digest by whoever reads
it. So nothing is fsynced, a lost or torn block only costs another fetch, and a full disk only costs speed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from threading import Lock

DIRECTORY_MODE = 0o700
SPARE_BYTES = 512 * 1024 * 1024
"""Nothing is kept while the disk has less room than this: arriving backups need it more."""
LOW_WATER = 0.9
SWEEPS_PER_LIMIT = 16
"""The directory is measured each time so great a part of the limit was written: it bounds how far it may go beyond."""


class BlockCache:
    """Blocks by a name (a pack's 32 hex digits) and a number. Several threads and processes may share a directory."""

    def __init__(self, root: Path, limit: int) -> None:
        """`limit`: bytes; 0 keeps nothing."""
        self.root = root
        self.limit = limit
        self._lock = Lock()
        self._unmeasured = limit  # measured at the first write: an earlier process may have left it full

    def has(self, name: str, number: int) -> bool:
        """Whether a block is here."""
        return self.limit > 0 and self._path(name, number).exists()

    def read(self, name: str, number: int, size: int) -> bytes | None:
        """A block of `size` bytes; None when it is not here, or not whole."""
        if self.limit <= 0:
            return None
        try:
            with self._path(name, number).open("rb") as file:
                data = file.read(size + 1)
                os.utime(file.fileno())
        except OSError:
            return None
        return data if len(data) == size else None

    def keep(self, name: str, number: int, data: bytes | memoryview) -> None:
        """Keep a block if there is room."""
        if self.limit <= 0:
            return
        path = self._path(name, number)
        temporary = path.with_name(f".{path.name}-{secrets.token_hex(6)}")
        try:
            path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < SPARE_BYTES:
                return
            temporary.write_bytes(data)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return
        self._count(len(data))

    def forget(self, name: str) -> None:
        """Drop every block of a pack: its bytes were not what they should be."""
        with suppress(OSError):
            for path in list(self._path(name, 0).parent.glob(f"{name}-*")):
                with suppress(OSError):
                    path.unlink()

    def measure(self) -> int:
        """Remove the blocks that were not used for longest until the limit is kept; bytes that are left."""
        found = sorted(self._blocks())
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return total
        for _, size, path in found:
            if total <= self.limit * LOW_WATER:
                break
            with suppress(OSError):
                os.unlink(path)
            total -= size
        return total

    def _blocks(self) -> list[tuple[float, int, str]]:
        blocks = []
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                with suppress(OSError):
                    facts = os.stat(path)
                    blocks.append((facts.st_mtime, facts.st_size, path))
        return blocks

    def _count(self, size: int) -> None:
        with self._lock:
            self._unmeasured += size
            due = self._unmeasured * SWEEPS_PER_LIMIT > self.limit
            if due:
                self._unmeasured = 0
        if due:
            self.measure()

    def _path(self, name: str, number: int) -> Path:
        return self.root / name[:2] / f"{name}-{number:06}"
