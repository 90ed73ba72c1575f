"""Who may come in, how much may be held, how fast may be asked: the gateway's bounds that span connections."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from uuid import UUID

from backup_platform.gateway.limits import GatewayLimits


class Admission:
    """Counts connections, all of them and the unauthenticated ones of each address."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._limits = limits
        self._all = 0
        self._strangers: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Count a connection that has just been accepted, or say that there is no room for it."""
        if self._all >= self._limits.connections:
            return False
        if self._strangers[address] >= self._limits.unauthenticated_per_address:
            return False
        self._all += 1
        self._strangers[address] += 1
        return True

    def recognised(self, address: str) -> None:
        """The connection has shown who it is: it no longer counts against its address."""
        self._strangers[address] -= 1
        if self._strangers[address] <= 0:
            del self._strangers[address]

    def left(self, address: str, *, recognised: bool) -> None:
        """An admitted connection has ended."""
        self._all -= 1
        if not recognised:
            self.recognised(address)

    @property
    def connections(self) -> int:
        """How many there are."""
        return self._all


class ReceivedBytes:
    """Bytes received by all connections and not yet on disk. Over the bound, whoever receives more is paused."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._held = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    def take(self, size: int) -> bool:
        """Book `size` bytes, which are here already; False when the total is over the bound."""
        self._held += size
        return self._held <= self._bound

    def give_back(self, size: int) -> None:
        """Book bytes as gone; under three quarters of the bound, everybody who waits goes on."""
        self._held -= size
        if self._waiting and self._held <= self._bound * 3 // 4:
            waiting, self._waiting = self._waiting, []
            for go_on in waiting:
                go_on()

    def when_free(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once there is room again."""
        self._waiting.append(go_on)


class SentBytes:
    """Memory that restores may hold, all connections together: taken before a read, given back when it is written."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._free = bound
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait, in order of asking, until `size` bytes may be held. More than everything counts as everything."""
        size = min(size, self._bound)
        if not self._waiting and self._free >= size:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            else:
                self._waiting = deque(item for item in self._waiting if item[1] is not turn)
            raise

    def give_back(self, size: int) -> None:
        """Let go of what `take` gave."""
        self._free += min(size, self._bound)
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, turn = self._waiting.popleft()
            self._free -= wanted
            turn.set_result(None)


class Meter:
    """How much each machine has asked for: a leaky bucket a machine, whichever connection it uses."""

    def __init__(self, rate: float, burst: float, *, machines: int = 20_000) -> None:
        """`rate` a second drains from a bucket that holds `burst` without a wait."""
        self._rate = rate
        self._burst = burst
        self._machines = machines
        self._levels: OrderedDict[UUID, tuple[float, float]] = OrderedDict()  # machine → (level, at)

    def ask(self, machine: UUID, amount: int, now: float) -> float:
        """Book a request; returns how many seconds its answer must wait. Over ten, it should be refused."""
        level, at = self._levels.pop(machine, (0.0, now))
        level = max(0.0, level - (now - at) * self._rate) + amount
        wait = max(0.0, (level - self._burst) / self._rate)
        if wait > MOST_WAIT:
            level -= amount  # what is refused is not counted, or one flood would shut the machine out for hours
        self._levels[machine] = (level, now)
        if len(self._levels) > self._machines:
            self._levels.popitem(last=False)
        return wait


class QuestionMeter(Meter):
    """How many ids each machine has asked about."""

    def __init__(self, limits: GatewayLimits, *, machines: int = 20_000) -> None:
        super().__init__(limits.question_ids_per_second, limits.question_ids_burst, machines=machines)


class CommitMeter(Meter):
    """How many bytes of roots and lists of blocks each machine has sent to be committed."""

    def __init__(self) -> None:
        super().__init__(COMMIT_BYTES_PER_SECOND, COMMIT_BYTES_BURST)


COMMIT_BYTES_PER_SECOND, COMMIT_BYTES_BURST = 1 << 20, 256 << 20
"""Thirty of the largest commits at once, seven times a backup's four rounds; then one in nine seconds."""
COMMIT_BYTES = 64 << 10
"""What a commit costs at least: the smallest one is looked up and stored too. Sixteen a second, for ever."""
MOST_WAIT = 10.0
"""Seconds that an answer is held back at most; beyond, the question is refused with RATE."""
