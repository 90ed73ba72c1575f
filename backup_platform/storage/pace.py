"""How long an exchange of known size may take with a store, by the rate that every honest line reaches.

A peer that trickles never falls silent, so no time-out of a single call finds it. Whoever has a whole object to move
sets a pace around it; the stores ask the pace in force while bytes flow, also from the threads that send parts. So an
exchange is cut where it stands, and what belongs to it is cleared away as after any other fault.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import BinaryIO, TypeVar

from backup_platform.storage.base import StoreUnavailable

LEAST_RATE = 64 * 1024
"""Bytes a second: half of what a line of 1 Mbit/s carries, the slowest that offices still have. So a pack of 64 MiB
gets through such a line in nine minutes and has eighteen; who gives less holds a worker for nothing."""
HEAD_START = 60.0
"""Seconds for what does not grow with the size: names, connections, a slow first answer, a few repetitions."""
LONGEST = 1380.0
"""Seconds that nothing may exceed: a worker's task ends soon after (workers/tasks.py)."""
LOOK_SECONDS = 1.0
PIECE = 64 * 1024
"""Bytes that are read at a time while a pace is in force: at the least rate one of them takes a second."""
TOO_SLOW = "It is too slow"
"""How the sentence begins: by it a target that trickles is told from one that is silent."""

Result = TypeVar("Result")


_kept_alive: ContextVar[Callable[[], object]] = ContextVar("kept_alive", default=bool)


class TooSlow(StoreUnavailable):
    """The store gave or took too little for too long. Nothing is concluded from it but that."""


def allowance(size: int) -> float:
    """The seconds that moving so many bytes may take."""
    return min(HEAD_START + size / LEAST_RATE, LONGEST)


class Pace:
    """The deadline of one exchange. `beat` is told how many bytes were moved, in the thread that made the pace only."""

    def __init__(self, size: int, beat: Callable[[int], object] = bool) -> None:
        self.size, self._beat = size, beat
        self._began, self._seconds = time.monotonic(), allowance(size)
        self._excused, self._moved, self._stopped = 0.0, 0, False
        self._keep = _kept_alive.get()
        self._lock, self._thread = threading.Lock(), threading.get_ident()

    @property
    def took(self) -> float:
        """Seconds since it began, but for those that were excused."""
        return time.monotonic() - self._began - self._excused

    @property
    def is_over(self) -> bool:
        """Whether its time is over."""
        return self.took > self._seconds

    def stop(self) -> None:
        """End the exchange now, wherever it stands: somebody does not want it any more."""
        self._stopped = True

    @contextmanager
    def excused(self) -> Iterator[None]:
        """What is done inside the block is somebody else's: it is held to no pace, and its time does not count."""
        began, token = time.monotonic(), _in_force.set(None)
        try:
            yield
        finally:
            _in_force.reset(token)
            self._excused += time.monotonic() - began

    def moved(self, count: int) -> None:
        """Count bytes that went over the line (less than none: they are sent again), and go on if that may be."""
        with self._lock:
            self._moved += count
        self.go_on()

    def reached(self, count: int) -> None:
        """As `moved`, for who counts from the beginning."""
        with self._lock:
            self._moved = max(self._moved, count)
        self.go_on()

    def go_on(self) -> None:
        """Say that the work lives. Raises TooSlow when its time is over, or when it was stopped."""
        if self._stopped or self.is_over:
            raise self.fault()
        if threading.get_ident() == self._thread:
            self._beat(min(self._moved, self.size))
            self._keep()

    def fault(self) -> TooSlow:
        """What to say of a store whose time is over."""
        minutes = max(round(self.took / 60), 1)
        sentence = (
            f"{TOO_SLOW}: {min(self._moved, self.size) / 2**20:.1f} of {self.size / 2**20:.1f} MiB in {minutes} min. "
            f"A pack needs {LEAST_RATE // 1024} KiB a second. Look at the line, and at what else uses it."
        )
        found = TooSlow(sentence)
        found.of_the_store = sentence
        return found


_in_force: ContextVar[Pace | None] = ContextVar("pace", default=None)


@contextmanager
def at_least(size: int, beat: Callable[[int], object] = bool) -> Iterator[Pace]:
    """Hold every exchange inside the block, together, to the time that so many bytes may take."""
    pace = Pace(size, beat)
    token = _in_force.set(pace)
    try:
        yield pace
    finally:
        _in_force.reset(token)


@contextmanager
def kept_alive(keep: Callable[[], object]) -> Iterator[None]:
    """Have `keep` called, often, by whatever is held to a pace inside the block: for long work of many exchanges."""
    token = _kept_alive.set(keep)
    try:
        yield
    finally:
        _kept_alive.reset(token)


def pace_in_force() -> Pace | None:
    """The pace that this thread is held to."""
    return _in_force.get()


class PacedSource(io.RawIOBase):
    """What is to be sent, read from another place: that place's slowness is not the store's, nor are its bytes."""

    def __init__(self, file: BinaryIO, pace: Pace) -> None:
        self._file, self._pace = file, pace

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self._pace.go_on()
        with self._pace.excused():
            return self._file.read(size)


class PacedBody(io.BytesIO):
    """What is sent, as a file: each piece that leaves is counted, and refused once the time is over."""

    def __init__(self, body: bytes, pace: Pace) -> None:
        super().__init__(body)
        self._pace = pace

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self._pace.moved(len(piece))
        return piece

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        before = self.tell()
        after = super().seek(offset, whence)
        if after < before:
            self._pace.moved(after - before)
        return after


def paced(body: bytes, pace: Pace | None) -> bytes | PacedBody:
    """A body as it is sent under a pace."""
    return body if pace is None else PacedBody(body, pace)


def wait_for(future: Future[Result], pace: Pace | None) -> Result:
    """What a thread's work comes to; meanwhile the pace is kept, and if it is broken, stopped for the others too."""
    if pace is None:
        return future.result()
    while True:
        try:
            return future.result(LOOK_SECONDS)
        except TimeoutError:
            if future.done():  # in that very moment, or the time-out is its own
                return future.result()
            pace.go_on()
