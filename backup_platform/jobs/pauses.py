"""How long to wait before a job is tried again: at once, soon, then in minutes; never all machines together."""

from __future__ import annotations

import random
from datetime import timedelta

SECONDS = (0, 2, 4, 8, 60, 120, 300, 600, 900)
"""What is away is mostly back at once or in seconds; what is not, is not helped by asking more often."""
AUTHENTICATION_SECONDS = (120, 900)
"""A refused key does not become good by itself, but a certificate may be renewed meanwhile."""
AUTHENTICATION_ATTEMPTS = len(AUTHENTICATION_SECONDS) + 1
SPREAD = 0.25
LOST = timedelta(seconds=10)
"""After a lost lease: long enough for the machine to come back and go on with what it has."""
LONGEST_REFUSAL = timedelta(hours=1)
"""A machine that declines may put a job off by at most this at a time."""

MOST_DECLINED = timedelta(days=3)
"""A job that its machine has not taken for so long, though it was there and was asked, fails: a long weekend on
battery is no fault, but what never comes must be heard of."""
HAND_PATIENCE = timedelta(minutes=15)
"""How long a backup that was begun by hand waits for its machine to go on, after its lease."""


def pause_after(attempts: int, *, authentication: bool = False) -> timedelta:
    """The pause after so many attempts (from 1 on), spread by a quarter either way."""
    steps = AUTHENTICATION_SECONDS if authentication else SECONDS
    seconds = steps[min(max(attempts, 1), len(steps)) - 1]
    return timedelta(seconds=seconds * random.uniform(1 - SPREAD, 1 + SPREAD))


def put_off(seconds: float) -> timedelta:
    """How long a machine that declined is left alone: what it asked for, within reason."""
    return min(max(timedelta(seconds=1), timedelta(seconds=min(seconds, 86_400))), LONGEST_REFUSAL)
