"""Turns of reading: many peers that send at once are read a few at a time, so that the event loop stays awake.

The loop reads every socket that has data before it does anything else. A hundred backups at full speed are a hundred
times a quarter of a mebibyte, or more, and meanwhile a control message waits. So bytes are counted for each round of
the loop: once a round has had enough, whoever has sent much in it is paused and queued, and the queue goes on, a few at
a time, in the next rounds. Whoever sends little is never paused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

KIB = 1024
ROUND_BYTES = 2048 * KIB
"""Read in one round of the loop before others must wait: about ten milliseconds of work."""
LITTLE = 64 * KIB
"""Who has sent no more than this in a round is not asked to wait: control messages, questions, small files."""
AT_ONCE = 4
"""Of those who wait, so many go on in a round; each may bring what its socket holds."""


class ReadingTurns:
    """Of one event loop. `spent` after each read; if it says so, pause and give `wait` the way to go on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._spent = 0
        self._scheduled = False
        self._waiting: deque[Callable[[], None]] = deque()
        self.number = 0
        """Of the present round, so that a peer knows which of its bytes belong to it."""

    def spent(self, size: int) -> bool:
        """Count `size` bytes that were read; whether this round has had enough."""
        self._spent += size
        self._schedule()
        return self._spent > ROUND_BYTES

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have `go_on` called in a later round, in order of asking."""
        self._waiting.append(go_on)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next_round)

    def _next_round(self) -> None:
        self._scheduled = False
        self._spent = 0
        self.number += 1
        for _ in range(min(AT_ONCE, len(self._waiting))):
            self._waiting.popleft()()
        if self._waiting:
            self._schedule()
