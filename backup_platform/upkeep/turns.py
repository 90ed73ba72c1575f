"""A worker's turn at long work: it ends in time, and its job's lease is renewed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backup_platform.upkeep.errors import TurnOver

SECONDS = 420.0
"""A task may take 540 s. What is begun just before this is over still gets done."""
BEAT_SECONDS = 20.0


def _always() -> bool:
    return True


@dataclass(slots=True)
class Turn:
    """`heartbeat` says that somebody is still at work; it returns False when the work is not ours any more."""

    heartbeat: Callable[[], bool] = _always
    seconds: float = SECONDS
    _began: float = field(default_factory=time.monotonic)
    _beat: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Call it at every step. Raises TurnOver when this turn has to end here."""
        now = time.monotonic()
        if now - self._began > self.seconds:
            raise TurnOver
        if now - self._beat > BEAT_SECONDS:
            self._beat = now
            if not self.heartbeat():
                raise TurnOver
