"""Whether somebody is at work: a canary task writes a row, so what is proven is that tasks are done, not that a
process exists."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from django.utils import timezone

from backup_platform.jobs.models import WorkerBeat

ALIVE_FOR = timedelta(seconds=60)
"""A worker writes every ten seconds; six in a row do not get lost by chance."""


def beat(name: str | None = None) -> None:
    """Write down that a worker has just done a task."""
    WorkerBeat.objects.update_or_create(name=name or socket.gethostname()[:200], defaults={"seen_at": timezone.now()})


def worker_seen() -> datetime | None:
    """When a worker last did a task; None when none ever has."""
    newest = WorkerBeat.objects.order_by("-seen_at").first()
    return newest.seen_at if newest else None


def is_worker_alive() -> bool:
    """Whether a worker has done a task within the last minute."""
    seen = worker_seen()
    return seen is not None and timezone.now() - seen < ALIVE_FOR
