"""Whether somebody is at work: a canary task writes a row, so what is proven is that tasks are done, not that a
process exists."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta

from django.utils import timezone

from backup_platform.jobs.models import QueueBeat, WorkerBeat
from backup_platform.jobs.turns import QUEUE, held_now
from backup_platform.tenants.scope import without_tenant_scope

ALIVE_FOR = timedelta(seconds=60)
"""A worker writes every ten seconds; six in a row do not get lost by chance."""
UNSERVED_FOR = timedelta(minutes=5)
"""After so long without a word nobody can be about to begin."""


def beat(name: str | None = None) -> None:
    """Write down that a worker has just done a task."""
    WorkerBeat.objects.update_or_create(name=name or socket.gethostname()[:200], defaults={"seen_at": timezone.now()})


def beat_of_tier() -> None:
    """Write down that a worker of the queue `tier` has just done a task."""
    QueueBeat.objects.update_or_create(queue=QUEUE, defaults={"seen_at": timezone.now()})


def is_tier_served() -> bool:
    """Whether somebody works on the queue `tier`: its canary came through, or its processes have jobs in hand, which
    may take them long. True too when nobody was ever seen: then this platform has only just begun."""
    seen = QueueBeat.objects.filter(queue=QUEUE).values_list("seen_at", flat=True).first()
    if seen is None or timezone.now() - seen < UNSERVED_FOR:
        return True
    with without_tenant_scope("a worker has jobs of any tenant in hand"):
        return bool(held_now().counts)


def worker_seen() -> datetime | None:
    """When a worker last did a task; None when none ever has."""
    newest = WorkerBeat.objects.order_by("-seen_at").first()
    return newest.seen_at if newest else None


def is_worker_alive() -> bool:
    """Whether a worker has done a task within the last minute."""
    seen = worker_seen()
    return seen is not None and timezone.now() - seen < ALIVE_FOR
