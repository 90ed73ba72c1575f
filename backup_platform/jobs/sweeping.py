"""The sweep over workers' jobs: what makes lost messages and dead workers boring. It looks at rows only.

Machines' jobs are never sent to a worker; agent_sweeping.py looks after them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from backup_platform.dispatch import queue_length, send
from backup_platform.jobs import turns
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.owners import is_gone
from backup_platform.jobs.routes import ROUTES, Route, route_of
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.telling import tell
from backup_platform.tenants.scope import without_tenant_scope

logger = logging.getLogger(__name__)

FIRST_INTERVAL = timedelta(seconds=15)
MOST_DOUBLINGS = 5
"""A job that nobody takes is sent again after 15 s, 30 s, 1 min … and then every eight minutes: while the workers are
behind, more wake-ups would not help. Where its queue is empty it is sent again after each 15 s."""
MAX_QUEUE = 10_000
"""Messages in a queue beyond which no more are added: the workers are behind, and more wake-ups would not help."""
MAX_SENT = 1_000
MAX_LOST = 10
"""After as many deaths of its worker in a row a job is poison. More than the five attempts of a failure, for most that
end were stopped or killed by others; few enough that a job which kills each of them is shown within the hour."""
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (0, 5, 10, 20, 40))
LONGEST_PAUSE = timedelta(seconds=60)
"""How long a job waits after the first, the second … death in a row, and after each further one."""
POISON = "Its worker died, ten times in a row."


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
        lost = _lost(now)
        failed = _fail_poisonous(lost)
        freed = take(Step.TRY_AGAIN, lost.filter(lost__lt=MAX_LOST - 1), **_again(now))
        return Swept(_send_due(now), freed, failed)


def _lost(now: datetime) -> QuerySet[Job]:
    """Jobs whose worker is dead: its lease is over, or it ran on this machine and is not there any more."""
    running = Job.objects.filter(state=JobState.RUNNING, machine__isnull=True)
    owners = running.filter(lease_until__gte=now).values_list("lease_owner", flat=True)
    return running.filter(Q(lease_until__lt=now) | Q(lease_owner__in=[owner for owner in owners if is_gone(owner)]))


def _fail_poisonous(lost: QuerySet[Job]) -> int:
    poisonous = lost.filter(lost__gte=MAX_LOST - 1)
    ids = list(poisonous.values_list("pk", flat=True)[:MAX_SENT])
    if not ids:
        return 0
    failed = take(Step.FAIL, poisonous.filter(pk__in=ids), lost=F("lost") + 1, last_error=POISON)
    tell(ids if failed else [])
    logger.error("Jobs failed for good: their workers died each time.", extra={"count": failed})
    return failed


def _again(now: datetime) -> dict[str, Any]:
    """What is written of a job whose worker died. That may be the job's doing, or the server's end: it counts as no
    attempt, but as one more death in a row, and who dies often waits longer."""
    steps = [When(lost=deaths, then=Value(now + pause)) for deaths, pause in enumerate(PAUSES)]
    return {
        "attempts": Greatest(F("attempts") - 1, 0),
        "lost": F("lost") + 1,
        "next_attempt_at": Case(*steps, default=Value(now + LONGEST_PAUSE)),
        "lease_owner": "",
        "lease_until": None,
        "sent_count": 0,
        "sent_at": None,
        "last_error": "Its worker was ended while it was at work; it begins again.",
    }


def _send_due(now: datetime) -> int:
    lengths = {queue: queue_length(queue) for queue in sorted({route.queue for route in ROUTES.values()})}
    room = {queue: 0 if length is None else max(0, MAX_QUEUE - length) for queue, length in lengths.items()}
    sent = 0
    for job in _due(now, {queue for queue, length in lengths.items() if length == 0}):
        route = route_of(job.kind, job.subject)
        if room[route.queue]:
            room[route.queue] -= 1
            sent += _send_again(job, route, now)
    return sent + (turns.send_next() if room[turns.QUEUE] else 0)


def _due(now: datetime, empty: Collection[str]) -> list[Job]:
    """Queued jobs that are due and whose last message is lost, or older than their interval.

    Where a queue is empty no message waits in it: one that is as old as the first interval was lost.
    """
    quiet = Q(sent_at__isnull=True)
    for count in range(MOST_DOUBLINGS):
        quiet |= Q(sent_count=count, sent_at__lte=now - FIRST_INTERVAL * 2**count)
    quiet |= Q(sent_count__gte=MOST_DOUBLINGS, sent_at__lte=now - FIRST_INTERVAL * 2**MOST_DOUBLINGS)
    quiet |= _sent_to(empty) & Q(sent_at__lte=now - FIRST_INTERVAL)
    due = Job.objects.filter(quiet, state=JobState.QUEUED, next_attempt_at__lte=now, machine__isnull=True)
    due = due.exclude(_sent_to({turns.QUEUE}))  # there are turns among these
    return list(due.order_by("next_attempt_at")[:MAX_SENT])


def _sent_to(queues: Collection[str]) -> Q:
    """The jobs whose messages go to these queues."""
    found = Q(pk__in=[])
    for (kind, subject), route in ROUTES.items():
        if route.queue in queues:
            found |= Q(kind=kind, subject__startswith=f"{subject}:")
    return found


def _send_again(job: Job, route: Route, now: datetime) -> int:
    """Count the message under the old count, so that two sweeps at once send one."""
    mine = Job.objects.filter(pk=job.pk, state=JobState.QUEUED, sent_count=job.sent_count, sent_at=job.sent_at)
    if not mine.update(sent_count=F("sent_count") + 1, sent_at=now):
        return 0
    send(route.task, route.queue, job.pk)
    return 1
