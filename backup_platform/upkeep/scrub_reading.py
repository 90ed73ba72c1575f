"""Reading a file for a scrub: no faster than the settings allow, and with a sign of life while it takes long."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import BinaryIO

MIB = 1024 * 1024
LONGEST_NAP = 1.0
SIGN_SECONDS = 20.0
"""A job's claim is for two minutes: a sign of life must come well within that."""


class PacedFile(io.RawIOBase):
    """A readable, seekable file over another one, read at most at `rate` bytes a second (0: as fast as it goes).

    `alive` is called every 20 seconds while somebody reads. Closing it closes the inner file.
    """

    def __init__(
        self,
        inner: BinaryIO,
        rate: float = 0.0,
        alive: Callable[[], object] = bool,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        self._inner, self._rate, self._alive = inner, rate, alive
        self._clock, self._sleep = clock, sleep
        self._began = self._signed = clock()
        self._done = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        return self._inner.tell()

    def fileno(self) -> int:
        return self._inner.fileno()

    def read(self, size: int | None = -1) -> bytes:
        data = self._inner.read(-1 if size is None else size)
        self._pace(len(data))
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        fill = getattr(self._inner, "readinto", None)
        if fill is None:
            data = self._inner.read(len(buffer))
            buffer[: len(data)] = data
            count = len(data)
        else:
            count = int(fill(buffer) or 0)
        self._pace(count)
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()

    def _pace(self, count: int) -> None:
        self._done += count
        while self._rate > 0:
            ahead = self._done / self._rate - (self._clock() - self._began)
            self._sign()
            if ahead <= 0:
                return
            self._sleep(min(ahead, LONGEST_NAP))
        self._sign()

    def _sign(self) -> None:
        if self._clock() - self._signed >= SIGN_SECONDS:
            self._signed = self._clock()
            self._alive()
