"""The life of a worker's job: queued → running → done | failed. Every step is one of states.py, a guarded UPDATE.

A message to a worker is only a wake-up, so each step works when messages are lost, late or doubled: a claim succeeds
for one worker at most, each later write carries the claim's lease owner, and `sweep` (sweeping.py) sends again.

While a job runs, `next_attempt_at` is the end of its lease. An earlier value means that somebody asked for the same
work meanwhile, so a job that only waits (`defer`) is due at once: no wake-up falls between looking and waiting.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.db.models import Case, F, QuerySet, When
from django.db.models.functions import Greatest
from django.utils import timezone

from backup_platform.dispatch import send
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.owners import new_owner
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.telling import tell
from backup_platform.jobs.turns import in_turn
from backup_platform.tenants.scope import ScopeError, current_tenant_id, without_tenant_scope

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=120)
"""A worker that has not renewed for this long is taken for dead."""
MAX_ATTEMPTS = 5
"""After as many attempts that failed a job fails for good, and is shown. One whose worker died, or that waited
for something, is taken back."""
FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(minutes=10)
MAX_ERROR = 500

ENQUEUE_SQL = """
    INSERT INTO jobs_job (id, tenant_id, kind, subject, dedupe_key, state, attempts, lease_owner, next_attempt_at,
                          sent_count, sent_at, progress, last_error, created_at)
    VALUES (%(id)s, %(tenant)s, %(kind)s, %(subject)s, %(dedupe)s, 'queued', 0, '', %(now)s,
            0, %(now)s, '{}', '', %(now)s)
    ON CONFLICT (dedupe_key) WHERE state IN ('queued', 'offered', 'running', 'cancelling')
    DO UPDATE SET next_attempt_at = %(now)s WHERE jobs_job.next_attempt_at > %(now)s
    RETURNING id
"""


def enqueue(kind: str, *, subject: str, tenant_id: UUID | None, dedupe_key: str = "") -> UUID | None:
    """Put work on the list in the transaction in force, and wake a worker after its commit.

    `subject` is `pack:<id>` or the like and decides the task. Work that is on the list already is only made due now;
    None when it was due anyway. ScopeError when the tenant is not the one in force.
    """
    if current_tenant_id() not in (None, tenant_id):
        raise ScopeError("A job of another tenant cannot be made in this tenant's scope.")
    row = {
        "id": uuid4(),
        "tenant": tenant_id,
        "kind": str(kind),
        "subject": subject,
        "dedupe": dedupe_key or f"{kind}:{subject}",
        "now": timezone.now(),
    }
    route = route_of(kind, subject)
    with connection.cursor() as cursor:
        cursor.execute(ENQUEUE_SQL, row)
        found = cursor.fetchone()
    if found is None:
        return None
    send(route.task, route.queue, found[0])
    return UUID(str(found[0]))


def claim(job_id: UUID, owner: str | None = None) -> Job | None:
    """Take a due job: its attempt is counted before the work starts. None when there is nothing to do.

    A job whose attempts are used up is failed instead, and one whose turn it is not (turns.py) stays as it is. Works in
    any scope: a worker takes what the message names, and opens the job's tenant scope afterwards.
    """
    with without_tenant_scope("a worker takes whatever job its message names"), in_turn(job_id) as has_turn:
        if not has_turn:
            return None
        now = timezone.now()
        due = Job.objects.filter(pk=job_id, machine__isnull=True, next_attempt_at__lte=now)
        owner = owner or new_owner()
        taken = take(
            Step.CLAIM,
            due.filter(attempts__lt=MAX_ATTEMPTS),
            attempts=F("attempts") + 1,
            lease_owner=owner,
            lease_until=now + LEASE,
            next_attempt_at=now + LEASE,
        )
        if taken:
            return Job.objects.filter(pk=job_id, lease_owner=owner).first()
        take(Step.POISON, due.filter(attempts__gte=MAX_ATTEMPTS))
        return None


def renew(job: Job, progress: dict[str, Any] | None = None) -> bool:
    """Prolong the claim, and say how far the work is; False when it was lost: stop, somebody else may be at work."""
    until = timezone.now() + LEASE
    changes: dict[str, Any] = {"lease_until": until}
    if progress is not None:
        changes["progress"] = progress
    asked_again = When(next_attempt_at__lt=F("lease_until"), then=F("next_attempt_at"))
    return bool(_mine(job).update(next_attempt_at=Case(asked_again, default=until), **changes))


def finish(job: Job, progress: dict[str, Any] | None = None) -> bool:
    """The work is done; `progress` keeps what came of it. False when the claim was lost."""
    changes: dict[str, Any] = {} if progress is None else {"progress": progress}
    return bool(take(Step.FINISH, _mine(job), last_error="", **changes))


def fail(job: Job, error: str) -> bool:
    """The attempt failed: try again after a growing pause, or give up after the fifth. False: the claim was lost."""
    now = timezone.now()
    if job.attempts >= MAX_ATTEMPTS:
        logger.error("A job failed for good.", extra={"job": str(job.pk), "kind": job.kind, "subject": job.subject})
        failed = bool(take(Step.FAIL, _mine(job), last_error=error[:MAX_ERROR]))
        tell([job.pk] if failed else [])
        return failed
    pause = min(FIRST_BACKOFF * 2 ** (job.attempts - 1), LONGEST_BACKOFF)
    free = {"lease_owner": "", "lease_until": None, "sent_count": 0, "sent_at": None, "lost": 0}
    return bool(take(Step.TRY_AGAIN, _mine(job), next_attempt_at=now + pause, last_error=error[:MAX_ERROR], **free))


def defer(job: Job, pause: timedelta, reason: str = "") -> bool:
    """The work waits for something else: look again after `pause`, or at once if it was asked for meanwhile.

    Waiting is no failure, so the attempt is taken back. False when the claim was lost.
    """
    now = timezone.now()
    asked_again = When(next_attempt_at__lt=F("lease_until"), then=now)
    deferred = take(
        Step.WAIT,
        _mine(job),
        attempts=Greatest(F("attempts") - 1, 0),
        lost=0,
        next_attempt_at=Case(asked_again, default=now + pause),
        sent_count=0,
        sent_at=None,
        lease_owner="",
        lease_until=None,
        last_error=reason[:MAX_ERROR],
    )
    if deferred and Job.objects.filter(pk=job.pk, next_attempt_at__lte=now).exists():
        route = route_of(job.kind, job.subject)
        send(route.task, route.queue, job.pk)
    return bool(deferred)


def _mine(job: Job) -> QuerySet[Job]:
    return Job.objects.filter(pk=job.pk, state=JobState.RUNNING, lease_owner=job.lease_owner)
