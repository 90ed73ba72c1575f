"""Waiting for cold storage: what a restore needs is asked for once, all together, and what met it is sent again later.

A FETCH that met cold storage is put off here. One thread asks the gateway for everything that the restore needs, says
so in plain words, and asks now and then how far it is. What has arrived meanwhile stays; only what is missing is
fetched when it can be read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.errors import AgentError, Refused, WaitedTooLong
from protocol.wire import limits, messages

DEFAULT_WAIT = 24.0
"""Hours. The slowest class of the large providers takes twelve, asked for as we do."""
LONGEST_PAUSE = 900.0
SHORTEST_PAUSE = 1.0
"""Seconds between two questions, whatever the gateway says."""
LOOKING = 3600.0
"""Seconds that a server may go on to look for what it could ask for, whatever the time for waiting is."""
FUTILE = 5
"""How often all may be said to be readable, and still be cold, before that is given up."""
RESUME = "It goes on by itself. Run the same command again later, with --resume: what is restored is not fetched again."

Ask = Callable[[messages.Thaw], messages.Thawing]
Again = Callable[[], None]
Fail = Callable[[AgentError], None]


@dataclass(frozen=True)
class ThawScope:
    """What a restore needs: blocks of a snapshot in the manifest's order; none: the whole snapshot."""

    snapshot: bytes
    blocks: Sequence[bytes] = ()

    def questions(self) -> list[messages.Thaw]:
        """The messages that together ask for all of it."""
        most, unique = limits.MAX_THAW_BLOCKS, list(dict.fromkeys(self.blocks))
        parts = [unique[at : at + most] for at in range(0, len(unique), most)] or [[]]
        return [messages.Thaw(snapshot=self.snapshot, blocks=b"".join(part)) for part in parts]


class Thawing:
    """Puts off requests that met cold storage until what the restore needs can be read, `hours` at most altogether.

    `tell` gets sentences for people, `phase` is told whether somebody waits. Errors go to the requests.
    """

    def __init__(
        self,
        scope: ThawScope,
        hours: float,
        tell: Callable[[str], None],
        phase: Callable[[bool], None] = lambda waiting: None,
    ) -> None:
        self._questions = scope.questions()
        self._seconds = hours * 3600
        self._tell = tell
        self._phase = phase
        self._lock = threading.Lock()
        self._put_off: list[tuple[Again, Fail]] = []
        self._running = False
        self._ended = threading.Event()
        self._since: float | None = None
        self._futile = 0

    def put_off(self, ask: Ask, again: Again, fail: Fail) -> None:
        """Have a request sent `again` when cold storage gave what it needs, or `fail`ed. Returns at once."""
        with self._lock:
            self._put_off.append((again, fail))
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, args=(ask,), name="strongroom-thaw", daemon=True).start()

    def arrived(self) -> None:
        """Something could be read: the next that is cold was not asked for in vain."""
        self._futile = 0

    def close(self) -> None:
        """Nobody waits any more."""
        self._ended.set()

    def _run(self, ask: Ask) -> None:
        fault = _fault_of(lambda: self._wait_aloud(ask))
        with self._lock:
            waiting, self._put_off, self._running = self._put_off, [], False
        for again, fail in waiting:
            failed = fault or _fault_of(again)
            if failed is not None:
                fail(failed)

    def _wait_aloud(self, ask: Ask) -> None:
        self._phase(True)
        try:
            self._wait(ask)
        finally:
            self._phase(False)

    def _wait(self, ask: Ask) -> None:
        """Return when all can be read. Raises WaitedTooLong, and what ends the line."""
        self._since = time.monotonic() if self._since is None else self._since
        self._futile += 1
        said = 0
        while (state := self._look(ask)) is not None:
            if state.waiting != said:
                said = state.waiting
                self._tell(_sentence(state))
            self._sleep(state)
        if self._futile > FUTILE:
            raise WaitedTooLong("Cold storage says that it has given everything, and it still cannot be read.", RESUME)
        if self._futile > 1:
            self._pause(SHORTEST_PAUSE * 2**self._futile)

    def _look(self, ask: Ask) -> messages.Thawing | None:
        """Ask for all that is still needed; None when all of it can be read, else how far the first of it is."""
        waiting = size = 0
        after = 0.0
        for question in self._questions:
            state = ask(question)
            while state.more:
                if not state.asked and self._left(max(self._seconds, LOOKING)) <= 0:
                    raise WaitedTooLong("The server does not come to an end with looking for what is cold.", RESUME)
                self._pause(max(state.retry_after or 0.0, SHORTEST_PAUSE) if not state.asked else 0.0)
                state = ask(question)
            waiting += state.waiting
            size += state.bytes
            after = max(after, state.retry_after or 0.0)
        if not waiting:
            return None
        return messages.Thawing(waiting=waiting, bytes=size, retry_after=after)

    def _sleep(self, state: messages.Thawing) -> None:
        left = self._left(self._seconds)
        if left <= 0:
            raise WaitedTooLong(f"{_sentence(state)} Waiting has come to its end.", RESUME)
        self._pause(min(max(state.retry_after or 0.0, SHORTEST_PAUSE), LONGEST_PAUSE, left))

    def _left(self, seconds: float) -> float:
        """What is left of so many seconds since the first request was put off."""
        assert self._since is not None
        return self._since + seconds - time.monotonic()

    def _pause(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise WaitedTooLong("The restore has ended.")


def _fault_of(call: Callable[[], None]) -> AgentError | None:
    """What a call comes to grief from, whatever that is: those who wait in the thread's name must hear of any end."""
    try:
        call()
    except AgentError as raised:
        return raised
    except Exception as raised:  # noqa: BLE001
        return Refused(f"Waiting for cold storage failed ({type(raised).__name__}).", "Report this.")
    return None


def _sentence(state: messages.Thawing) -> str:
    packs = "1 pack" if state.waiting == 1 else f"{state.waiting:,} packs"
    size = f"{state.bytes / 2**20:,.0f} MiB"
    return f"What this restore needs lies in cold storage, {packs} ({size}). It was asked for; that takes hours."
