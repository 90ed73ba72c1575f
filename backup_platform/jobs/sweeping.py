"""The sweep over workers' jobs: what makes lost messages and dead workers boring. It looks at rows only.

Machines' jobs are never sent to a worker; agent_sweeping.py looks after them.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.utils import timezone

from backup_platform.dispatch import queue_length, send
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import Route, route_of
from backup_platform.jobs.services import MAX_ATTEMPTS
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.telling import tell
from backup_platform.tenants.scope import without_tenant_scope

logger = logging.getLogger(__name__)

FIRST_INTERVAL = timedelta(seconds=15)
MOST_DOUBLINGS = 8
"""A job that nobody takes is sent again after 15 s, 30 s, 1 min … and then about every hour."""
MAX_QUEUE = 10_000
"""Messages in a queue beyond which no more are added: the workers are behind, and more wake-ups would not help."""
MAX_SENT = 1_000


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did."""

    sent: int
    freed: int
    failed: int


def sweep() -> Swept:
    """Free the jobs of dead workers, fail the poisonous ones, and send a message for each job that is due."""
    with without_tenant_scope("the sweep looks after every tenant's jobs"):
        now = timezone.now()
        failed, freed = _free_expired(now)
        return Swept(_send_due(now), freed, failed)


def _free_expired(now: datetime) -> tuple[int, int]:
    expired = Job.objects.filter(state=JobState.RUNNING, lease_until__lt=now, machine__isnull=True)
    poisonous = expired.filter(attempts__gte=MAX_ATTEMPTS)
    ids = list(poisonous.values_list("pk", flat=True)[:MAX_SENT])
    failed = take(Step.FAIL, poisonous.filter(pk__in=ids), last_error="Its worker died, five times in a row.")
    tell(ids if failed else [])
    again = {"next_attempt_at": now, "lease_owner": "", "lease_until": None, "sent_count": 0, "sent_at": None}
    freed = take(Step.TRY_AGAIN, expired.exclude(pk__in=ids), **again)
    if failed:
        logger.error("Jobs failed for good: their workers died five times.", extra={"count": failed})
    return failed, freed


def _send_due(now: datetime) -> int:
    by_route: defaultdict[Route, list[Job]] = defaultdict(list)
    for job in _due(now):
        by_route[route_of(job.kind, job.subject)].append(job)
    room = {queue: _room(queue) for queue in {route.queue for route in by_route}}
    sent = 0
    for route, jobs in by_route.items():
        for job in jobs[: room[route.queue]]:
            sent += _send_again(job, route, now)
        room[route.queue] -= min(len(jobs), room[route.queue])
    return sent


def _due(now: datetime) -> list[Job]:
    """Queued jobs that are due and whose last message is older than their interval."""
    quiet = Q(sent_at__isnull=True)
    for count in range(MOST_DOUBLINGS):
        quiet |= Q(sent_count=count, sent_at__lte=now - FIRST_INTERVAL * 2**count)
    quiet |= Q(sent_count__gte=MOST_DOUBLINGS, sent_at__lte=now - FIRST_INTERVAL * 2**MOST_DOUBLINGS)
    due = Job.objects.filter(quiet, state=JobState.QUEUED, next_attempt_at__lte=now, machine__isnull=True)
    return list(due.order_by("next_attempt_at")[:MAX_SENT])


def _room(queue: str) -> int:
    length = queue_length(queue)
    return 0 if length is None else max(0, MAX_QUEUE - length)


def _send_again(job: Job, route: Route, now: datetime) -> int:
    """Count the message under the old count, so that two sweeps at once send one."""
    mine = Job.objects.filter(pk=job.pk, state=JobState.QUEUED, sent_count=job.sent_count, sent_at=job.sent_at)
    if not mine.update(sent_count=F("sent_count") + 1, sent_at=now):
        return 0
    send(route.task, route.queue, job.pk)
    return 1
