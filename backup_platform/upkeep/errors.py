"""What reclaim refuses, and why. The messages are shown to people: what, why, what to do."""

from __future__ import annotations


class ReclaimRefused(Exception):
    """Something is not as it should be, so nothing is taken away. The message says what to look at."""


class TurnOver(Exception):
    """This task's time is used up, or its job was taken from it. The rows say how far the work is."""
