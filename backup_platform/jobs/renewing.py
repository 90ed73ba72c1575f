"""How often work says that it is still at it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from backup_platform.jobs.models import Job
from backup_platform.jobs.services import LEASE, renew

PACE = LEASE.total_seconds() / 12
"""Seconds between two renewals: each is a transaction, and work may have many thousand moments to say that it lives."""


def paced_renewal(job: Job, pace: float = PACE) -> Callable[[], bool]:
    """A function to call as often as one likes; it renews the claim every `pace` seconds. False: the claim was lost."""
    renewed, held = monotonic(), True

    def beat() -> bool:
        nonlocal renewed, held
        now = monotonic()
        if held and now - renewed >= pace:
            renewed, held = now, renew(job)
        return held

    return beat
