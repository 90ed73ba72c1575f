"""Whose turn it is among the jobs that wait for other people's machines: those of the queue `tier`.

A tenant's own bucket may be as slow as it likes, and each job at it holds a process. So no owner, no target and no one
kind of this work gets all processes, however much of it is due: a claim that would be one too many finds nothing to do.
The row stays as it was, queued and due, with its attempts; whoever ends a job of this queue sends the next ones that
fit, one of each owner, in an order that chance decides, and the sweep does the same for what was lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from django.db import Error, connection, transaction
from django.utils import timezone

from backup_platform.dispatch import TIER, send, tier_processes
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.jobs.routes import ROUTES, route_of
from backup_platform.tenants.scope import without_tenant_scope

logger = logging.getLogger(__name__)

QUEUE = TIER
LOCK_CLASS, LOCK = 0x5354_5455, 1
MOST_LANES = 200
"""Lanes that are looked at for the next jobs, drawn by chance."""
KINDS = [f"{kind}:{what}" for (kind, what), route in ROUTES.items() if route.queue == QUEUE]

NEXT_SQL = """
    SELECT id, kind, subject, tenant_id FROM (
        SELECT DISTINCT ON (tenant_id, kind, split_part(subject, ':', 1), split_part(subject, '@', 2))
               id, kind, subject, tenant_id
          FROM jobs_job
         WHERE state = 'queued' AND machine_id IS NULL AND next_attempt_at <= %s
           AND kind || ':' || split_part(subject, ':', 1) = ANY(%s)
         ORDER BY tenant_id, kind, split_part(subject, ':', 1), split_part(subject, '@', 2), next_attempt_at
    ) first_of_lane
    ORDER BY random() LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Lane:
    """What a job of this queue has to share: its owner, what sort of work it is, and the target that it names."""

    owner: UUID | None
    group: str
    target: str

    def limits(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Each thing of which only so many may be held at once."""
        processes = tier_processes()
        share = max(processes // 3, 1)
        yield ("owner", str(self.owner)), min(2 * share, processes - 1)
        yield ("owner and group", str(self.owner), self.group), share
        yield ("group", self.group), processes - 1
        if self.target:
            yield ("target", self.target), share


def lane_of(kind: str, subject: str, owner: UUID | None) -> Lane | None:
    """The lane of a job; None when it is of another queue, and needs no turn."""
    if route_of(kind, subject).queue != QUEUE:
        return None
    what, _, name = subject.partition(":")
    if kind != JobKind.TIER:
        return Lane(owner, "probes" if kind == JobKind.VERIFY else "upkeep", "")
    if what == "target":
        return Lane(owner, "upkeep", name)
    return Lane(owner, "packs" if what == "pack" else "objects", name.partition("@")[2])


@dataclass(slots=True)
class Held:
    """What the jobs that run now hold."""

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def has_room(self, lane: Lane) -> bool:
        """Whether one more may begin."""
        return all(self.counts[what] < most for what, most in lane.limits())

    def take(self, lane: Lane) -> None:
        """Count one more."""
        self.counts.update(what for what, _ in lane.limits())


@contextmanager
def in_turn(job_id: UUID) -> Iterator[bool]:
    """Whether a job may begin, as far as turns go; inside the block nobody else of this queue begins."""
    found = Job.objects.filter(pk=job_id, machine__isnull=True).values_list("kind", "subject", "tenant_id").first()
    lane = lane_of(*found) if found else None
    if lane is None:
        yield True
        return
    with transaction.atomic():
        _lock()
        yield held_now().has_room(lane)


def held_now() -> Held:
    """What runs, of all owners."""
    held = Held()
    running = Job.objects.filter(state=JobState.RUNNING, machine__isnull=True)
    for kind, subject, owner in running.values_list("kind", "subject", "tenant_id"):
        if lane := lane_of(kind, subject, owner):
            held.take(lane)
    return held


def pass_on(job: Job) -> None:
    """A job ended: wake workers for those that may begin now. What goes wrong here, the sweep makes good."""
    if lane_of(job.kind, job.subject, job.tenant_id) is None:
        return
    try:
        send_next()
    except Error as fault:
        logger.info("The next jobs were not sent; the sweep sends them. (%s)", type(fault).__name__)


def send_next() -> int:
    """Send the jobs that are due and may begin now, as many as there is room for; how many."""
    with without_tenant_scope("turns are taken among the jobs of every tenant"):
        held, sent = held_now(), 0
        for job_id, kind, subject, owner in _first_of_lanes():
            lane = lane_of(kind, subject, owner)
            if lane is not None and held.has_room(lane):
                held.take(lane)
                route = route_of(kind, subject)
                send(route.task, route.queue, job_id)
                sent += 1
        return sent


def _first_of_lanes() -> list[tuple[UUID, str, str, UUID | None]]:
    """Of each lane the job that has been due for longest, of every tenant, in an order that chance decides."""
    with connection.cursor() as cursor:
        cursor.execute(NEXT_SQL, [timezone.now(), KINDS, MOST_LANES])
        return list(cursor.fetchall())


def _lock() -> None:
    """Claims of this queue are made one after the other: two at once would both find the last place free."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, LOCK])
