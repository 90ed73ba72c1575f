"""How long, and how often, to try again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

STEPS = (0.0, 2.0, 4.0, 8.0)
"""Seconds before the first, second, third and every later attempt."""
JOB_STEPS = (0.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""The same for jobs, whose patience is longer: a session is held for them, so they come back often."""
JITTER = 0.25
"""Each wait is longer or shorter by up to this share, so that a fleet does not come back in one moment."""
DEFAULT_RETRY_FOR = 120.0


class Patience:
    """The waits of one run of attempts, which ends `retry_for` seconds after the first failure.

    Whoever makes progress calls `reset`; without progress it comes to an end, whatever the other side does.
    """

    def __init__(
        self,
        retry_for: float,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        steps: Sequence[float] = STEPS,
    ) -> None:
        self._steps = steps
        self._retry_for = retry_for
        self._clock = clock
        self._chance = chance
        self._since: float | None = None
        self._attempt = 0

    def reset(self) -> None:
        """The other side did something useful: start from the beginning at the next failure."""
        self._since = None
        self._attempt = 0

    def wait(self, at_least: float | None = None) -> float | None:
        """Return the seconds to wait before the next attempt, None when patience is at its end.

        `at_least`: what the other side asked for; if that is longer than what is left, waiting is useless.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
        left = self._since + self._retry_for - now
        step = self._steps[min(self._attempt, len(self._steps) - 1)]
        self._attempt += 1
        seconds = max(step * (1 + JITTER * (2 * self._chance() - 1)), at_least or 0.0)
        return seconds if left > 0 and seconds <= left else None
