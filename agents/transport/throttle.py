"""How fast a connection may send: a token bucket whose rate a calendar gives, and a judge that makes room for others.

Only what the agent sends is held back. A rate is in bytes a second, None means no limit.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

KBIT = 125
"""Bytes of one kilobit."""
LEAST_RATE = 16 * KBIT
"""2 KB/s. Below it a connection would be taken for a dead one; smaller limits count as this one."""
BURST_SECONDS = 0.25
"""So much of a second's worth may be sent at once."""
LARGEST_PIECE = 65_536
SMALLEST_PIECE = 512
LOOK = 1.0
"""Seconds between two looks at the calendar and at the connection."""

Rate = Callable[[], float | None]


class Throttle:
    """Allows bytes to be sent. One thread uses it; `rate` is asked about once a second."""

    def __init__(
        self, rate: Rate, judge: RoomForOthers | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = rate
        self._judge = judge
        self._clock = clock
        self._rate: float | None = None
        self._balance = 0.0
        self._filled = self._looked = clock()
        self._first = True

    def look(self, connection: socket.socket) -> None:
        """Take the rate of this moment from the calendar and, if others are to be spared, from the connection."""
        now = self._clock()
        if not self._first and now - self._looked < LOOK:
            return
        self._first, self._looked = False, now
        limit = self._ask()
        if self._judge is not None:
            limit = self._judge.rate(connection, now, limit)
        self._rate = None if limit is None else max(limit, LEAST_RATE)

    def piece(self) -> int:
        """The most bytes to hand over at once now; 0 while there is nothing to spend."""
        if self._rate is None:
            return 1 << 30
        self._fill(self._rate)
        return self._quantum(self._rate) if self._balance > 0 else 0

    def spent(self, size: int) -> None:
        """So many bytes were handed over; the balance may become a debt of one piece."""
        if self._judge is not None:
            self._judge.spent(size)
        if self._rate is not None:
            self._balance -= size

    def wait(self) -> float:
        """Seconds until there is something to spend again."""
        if self._rate is None:
            return 0.0
        self._fill(self._rate)
        return max(0.0, -self._balance / self._rate) + 0.001 if self._balance <= 0 else 0.0

    def _fill(self, rate: float) -> None:
        now = self._clock()
        self._balance = min(self._balance + (now - self._filled) * rate, rate * BURST_SECONDS)
        self._filled = now

    @staticmethod
    def _quantum(rate: float) -> int:
        """Small enough that PINGs between pieces are not late."""
        return int(min(max(rate * BURST_SECONDS, SMALLEST_PIECE), LARGEST_PIECE))


class RoomForOthers:
    """Backs off when our own sending makes the way longer for everybody.

    The kernel knows the connection's round-trip time and the shortest one that it saw. When the time grows well beyond
    the shortest, our bytes stand in a queue that others share: the rate falls by a fifth. While it is short, the rate
    grows by a tenth. Without such figures (not Linux) nothing is held back. It never goes below `FLOOR` and never
    above the calendar's limit.
    """

    FLOOR = 64_000.0
    SLOWER = 0.8
    FASTER = 1.1

    def __init__(self, times: Callable[[socket.socket], tuple[float, float] | None] | None = None) -> None:
        self._times = times or round_trips
        self._rate: float | None = None
        self._sent = 0
        self._since: float | None = None

    def spent(self, size: int) -> None:
        """So many bytes were sent."""
        self._sent += size

    def rate(self, connection: socket.socket, now: float, limit: float | None) -> float | None:
        """The rate from now on, given the calendar's limit."""
        reached = self._sent / (now - self._since) if self._since is not None and now > self._since else 0.0
        self._sent, self._since = 0, now
        times = self._times(connection)
        if times is not None and reached:
            self._adapt(times, reached)
        if self._rate is None or limit is None:
            return self._rate if limit is None else limit
        return min(self._rate, limit)

    def _adapt(self, times: tuple[float, float], reached: float) -> None:
        present, shortest = times
        if present > 2 * shortest + 0.025:
            self._rate = max(min(self._rate or reached, reached) * self.SLOWER, self.FLOOR)
        elif self._rate is not None and reached > self._rate / 2:
            self._rate *= self.FASTER


_RTT, _MIN_RTT, _INFO_SIZE = 68, 148, 152


def round_trips(connection: socket.socket) -> tuple[float, float] | None:
    """The connection's smoothed and shortest round-trip times in seconds (tcp(7), TCP_INFO); None where unknown."""
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, option, _INFO_SIZE)
    except OSError:
        return None
    if len(info) < _INFO_SIZE:
        return None
    (present,) = struct.unpack_from("=I", info, _RTT)
    (shortest,) = struct.unpack_from("=I", info, _MIN_RTT)
    return present / 1e6, shortest / 1e6
