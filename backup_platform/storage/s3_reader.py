"""An object of a bucket as a file: read by ranges, sought freely, with a bounded piece of it in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

SMALLEST_WINDOW = 256 * 1024
LARGEST_WINDOW = 8 * 1024 * 1024
"""Who reads on and on gets larger and larger pieces, so that a whole pack costs a dozen requests."""
BUFFER = 64 * 1024


class RangeReader(io.RawIOBase):
    """Reads through `fetch(offset, length)`, which gives exactly that many bytes or raises a StoreError."""

    def __init__(self, size: int, fetch: Callable[[int, int], bytes]) -> None:
        self._size, self._fetch = size, fetch
        self._position = 0
        self._start, self._held = 0, b""
        self._window = SMALLEST_WINDOW

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("A position before the beginning of the object.")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        begin = self._position - self._start
        if not 0 <= begin < len(self._held):
            self._load()
            begin = 0
        piece = self._held[begin : begin + wanted]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def _load(self) -> None:
        reads_on = self._held != b"" and self._position == self._start + len(self._held)
        self._window = min(self._window * 2, LARGEST_WINDOW) if reads_on else SMALLEST_WINDOW
        length = min(self._window, self._size - self._position)
        self._held, self._start = self._fetch(self._position, length), self._position


def opened(size: int, fetch: Callable[[int, int], bytes]) -> io.BufferedReader:
    """A buffered, seekable file over an object of that size."""
    return io.BufferedReader(RangeReader(size, fetch), BUFFER)
