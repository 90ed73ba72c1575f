"""How long a daemon waits before it tries again, for ever; and how long it waits for an answer.

A run of attempts that ends is `retrying.Patience`. A daemon never gives up, it only becomes rarer: at once, after
2, 4 and 8 seconds, then minutes. Each wait is longer or shorter by up to a quarter, so that a fleet whose gateway comes
back does not come back in one moment.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum

from agents.errors import AgentError, AuthenticationFault
from agents.transport.retrying import JITTER, JOB_STEPS


class Kind(Enum):
    """What is tried again. Values are the names under which retries are counted."""

    AUTHENTICATION = "authentication"
    CONTROL = "control"
    TRANSFER = "transfer"


STEPS = {
    # Nothing changes by itself here: somebody has to approve, to enrol anew or to set a clock.
    Kind.AUTHENTICATION: (60.0, 300.0, 900.0, 3600.0),
    Kind.CONTROL: (0.0, 2.0, 4.0, 8.0, 30.0, 60.0, 120.0, 300.0),
    Kind.TRANSFER: JOB_STEPS,
}
STEADY = 30.0
"""Seconds that a connection must have lived before its end counts as the first of a row."""
LONGEST_ASKED = 3600.0
"""A server may ask for patience, but not for more than this."""


def kind_of_fault(fault: AgentError) -> Kind:
    """Which ladder a failed connection stands on."""
    return Kind.AUTHENTICATION if isinstance(fault, AuthenticationFault) else Kind.CONTROL


class Ladders:
    """The waits of one daemon, and how often it had to wait."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._attempts: Counter[Kind] = Counter()
        self._lives_since: float | None = None
        self.counts: Counter[str] = Counter()

    def connected(self) -> None:
        """A connection is up."""
        self._lives_since = self._clock()

    def wait(self, kind: Kind, at_least: float | None = None) -> float:
        """Seconds until the next attempt after a failure; `at_least` is what the server asked for."""
        if self._lives_since is not None and self._clock() - self._lives_since >= STEADY:
            self._attempts.clear()
        self._lives_since = None
        steps = STEPS[kind]
        step = steps[min(self._attempts[kind], len(steps) - 1)]
        self._attempts[kind] += 1
        self.counts[kind.value] += 1
        asked = min(at_least or 0.0, LONGEST_ASKED)
        return max(step, asked) * (1 + JITTER * (2 * self._chance() - 1))

    def count(self, kind: Kind, times: int) -> None:
        """So many retries happened elsewhere, in a job's own process."""
        self.counts[kind.value] += times


class AnswerTimes:
    """How long to wait for an answer, from how long answers took (RFC 6298's way, from slow answers a slow guess)."""

    LEAST, FIRST, MOST = 10.0, 30.0, 120.0
    FACTOR = 4.0
    """Answers come out of transactions: their times scatter more than those of packets, so FACTOR is on the mean."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    def observe(self, seconds: float) -> None:
        """An answer took so long."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    def missed(self) -> None:
        """No answer came in time: the next wait is longer."""
        self._mean = min(2 * (self._mean or self.FIRST / self.FACTOR), self.MOST)

    @property
    def timeout(self) -> float:
        """Seconds to wait for the next answer."""
        if self._mean is None:
            return self.FIRST
        return min(max(self.FACTOR * (self._mean + self._deviation), self.LEAST), self.MOST)
