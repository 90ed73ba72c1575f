"""Saying that the work goes on while much is read or written: a claim that is not renewed goes to somebody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

EVERY = 20.0
"""Seconds between two beats: a claim lasts two minutes."""


class Beats:
    """Calls `heartbeat` when the last time is long enough ago."""

    def __init__(self, heartbeat: Callable[[], object]) -> None:
        self._heartbeat = heartbeat
        self._last = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._last > EVERY:
            self._heartbeat()
            self._last = time.monotonic()


class BeatingReader:
    """A file to read from that beats meanwhile. `heartbeat` may raise: then nobody reads on."""

    def __init__(self, file: BinaryIO, heartbeat: Callable[[], object]) -> None:
        self._file = file
        self._beat = Beats(heartbeat)

    def read(self, size: int = -1) -> bytes:
        """As the file's own."""
        self._beat()
        return self._file.read(size)
