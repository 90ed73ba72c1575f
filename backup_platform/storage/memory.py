"""A store in memory, for tests: the same contract, no disk."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backup_platform.storage.base import AlreadyThere, NotFound, Store, check_key, check_prefix, check_sha256


class MemoryStore(Store):
    """Objects in a dictionary; may be used by several threads."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(
        self, key: str, data: bytes | BinaryIO, *, sha256: bytes | None = None, only_if_absent: bool = True
    ) -> None:
        content = data if isinstance(data, bytes) else data.read()
        check_sha256(content, sha256, check_key(key))
        with self._lock:
            if only_if_absent and key in self.objects:
                raise AlreadyThere(f"{key} is there already.")
            self.objects[key] = content

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        content = self._find(key)
        return content[offset:] if length is None else content[offset : offset + length]

    def open(self, key: str) -> BinaryIO:
        return io.BytesIO(self._find(key))

    def size(self, key: str) -> int:
        return len(self._find(key))

    def list(self, prefix: str = "") -> Iterator[str]:
        folder = f"{check_prefix(prefix)}/" if prefix else ""
        yield from sorted(key for key in self.objects if key.startswith(folder))

    def delete(self, key: str) -> None:
        with self._lock:
            if self.objects.pop(check_key(key), None) is None:
                raise NotFound(f"{key} is not there.")

    def adopt(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def _find(self, key: str) -> bytes:
        try:
            return self.objects[check_key(key)]
        except KeyError:
            raise NotFound(f"{key} is not there.") from None
