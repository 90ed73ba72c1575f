"""What a machine's agent says of its jobs, by way of a gateway. The lease is the right to say it.

A lease is a random value that one machine was given with an offer. Every write here asks for it in the statement
itself, so what an older connection, another gateway or another machine says changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from backup_platform.jobs import causes
from backup_platform.jobs.ending import OUTCOMES, Ending, end_job
from backup_platform.jobs.models import HELD, Job, JobKind, JobState
from backup_platform.jobs.offering import hand_out_alone
from backup_platform.jobs.pauses import MOST_DECLINED, put_off
from backup_platform.jobs.progress import clean_counts, clean_progress
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.telling import tell
from backup_platform.tenants.scope import without_tenant_scope

RUN_LEASE = timedelta(seconds=90)
"""Not renewed for this long, the machine is taken for gone; with the sweep's interval that is under two minutes."""
WHOSE = "the lease says whose job it is"

# The lease is the tenant condition: it is random, and only the machine that has the job was told it.
PROGRESS_SQL = """
    UPDATE jobs_job AS job SET lease_until = %(until)s, next_attempt_at = %(until)s,
        progress = CASE WHEN said.state = '{}'::jsonb THEN job.progress
                        WHEN job.spec #> '{settings,privacy.file_names_in_progress}' = 'true'::jsonb THEN said.state
                        ELSE said.state - 'file' END
    FROM (SELECT unnest(%(ids)s::uuid[]) AS id, unnest(%(leases)s::text[]) AS lease,
                 unnest(%(states)s::text[])::jsonb AS state) AS said
    WHERE job.id = said.id AND job.lease_owner = said.lease AND said.lease <> ''
      AND job.state IN ('running', 'cancelling') AND job.machine_id IS NOT NULL
    RETURNING job.id
"""


def accept(job_id: UUID, lease: str) -> bool:
    """The machine takes an offered job: its attempt is counted before the work. False: it was taken back; stop it."""
    now = timezone.now()
    with without_tenant_scope(WHOSE):
        return bool(take(Step.ACCEPT, _leased(job_id, lease), **_begun(now + RUN_LEASE)))


def _begun(until: Any) -> dict[str, Any]:
    return {
        "attempts": F("attempts") + 1,
        "started_at": timezone.now(),
        "lease_until": until,
        "next_attempt_at": until,
        "progress": {},
        "declined_since": None,
        "last_error": "",
        "advice": "",
    }


def decline(job_id: UUID, lease: str, reason: str, retry_after: float) -> bool:
    """The machine cannot do an offered job now: it is offered again after so many seconds. No attempt is counted.

    What it has declined for three days fails, with what it said.
    """
    now = timezone.now()
    changes = {
        "next_attempt_at": now + put_off(retry_after),
        "declined_since": Coalesce("declined_since", now),
        "last_error": causes.clean_text(reason),
        "advice": "",
        "lease_owner": "",
        "lease_until": None,
    }
    with without_tenant_scope(WHOSE), transaction.atomic():
        return _give_up_declined(job_id, lease, reason) or bool(take(Step.DECLINE, _leased(job_id, lease), **changes))


def _give_up_declined(job_id: UUID, lease: str, reason: str) -> bool:
    cause = causes.never_taken(reason)
    offered = _leased(job_id, lease).filter(state=JobState.OFFERED)
    for_long = offered.filter(declined_since__lte=timezone.now() - MOST_DECLINED)
    if not take(Step.GIVE_UP, for_long, last_error=cause.message, advice=cause.advice):
        return False
    tell([job_id])
    return True


def progress(updates: Sequence[tuple[UUID, str, dict[str, Any]]]) -> set[UUID]:
    """Renew the leases of many running jobs and note how far they are, in one statement.

    Returns the jobs that are still their machines'; the others were lost, and their agents should stop them. An empty
    dict only renews.
    """
    if not updates:
        return set()
    said: dict[str, Any] = {
        "until": timezone.now() + RUN_LEASE,
        "ids": [job_id for job_id, _, _ in updates],
        "leases": [lease for _, lease, _ in updates],
        "states": [json.dumps(clean_progress(state)) for _, _, state in updates],
    }
    with connection.cursor() as cursor:
        cursor.execute(PROGRESS_SQL, said)
        return {UUID(str(row[0])) for row in cursor.fetchall()}


def report(
    job_id: UUID,
    lease: str,
    outcome: str,
    *,
    message: str = "",
    advice: str = "",
    snapshot: UUID | None = None,
    counts: dict[str, int] | None = None,
) -> bool:
    """How an attempt ended: done, warnings, failed, temporary or cancelled. False: nothing was changed.

    A report may come after the lease ran out; it counts as long as nobody else was given the job. Repeating it changes
    nothing. Raises ValueError for an outcome that does not exist.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"{outcome!r} is no outcome of a job: {', '.join(OUTCOMES)} are.")
    figures = clean_counts(counts or {})
    with without_tenant_scope(WHOSE), transaction.atomic():
        late = _leased(job_id, lease).filter(state__in=(JobState.QUEUED, JobState.OFFERED)).first()
        if late is not None and not _take_back(late, late.gateway):
            return False
        running = _leased(job_id, lease).filter(state__in=(JobState.RUNNING, JobState.CANCELLING))
        job = running.select_for_update(of=("self",)).first()
        if job is None:
            return False
        cause = causes.explain(outcome, figures.get("exit_code"), message, advice, job.kind)
        return end_job(job, Ending(outcome, cause, snapshot, figures))


def resume(job_id: UUID, lease: str, gateway: str) -> bool:
    """After a reconnection: go on with a job that the machine still holds. False: the agent should stop it.

    Also works when the lease ran out, unless somebody else has the job or the machine has another backup by now.
    """
    with without_tenant_scope(WHOSE), transaction.atomic():
        until = timezone.now() + RUN_LEASE
        running = _leased(job_id, lease).filter(state__in=(JobState.RUNNING, JobState.CANCELLING))
        if running.update(lease_until=until, next_attempt_at=until, gateway=gateway[:64]):
            return True
        job = _leased(job_id, lease).filter(state__in=(JobState.QUEUED, JobState.OFFERED)).first()
        return job is not None and _take_back(job, gateway)


def _take_back(job: Job, gateway: str) -> bool:
    """From queued or offered back to running, if the machine has no other backup meanwhile."""
    hand_out_alone()
    others = Job.objects.filter(machine=job.machine_id, kind=JobKind.BACKUP, state__in=HELD).exclude(pk=job.pk)
    if job.kind == JobKind.BACKUP and others.exists():
        return False
    until = timezone.now() + RUN_LEASE
    changes = {"lease_until": until, "next_attempt_at": until, "gateway": gateway[:64]}
    if job.state == JobState.OFFERED:  # its acceptance was never written down
        changes = {**_begun(until), **changes}
    return bool(take(Step.RESUME, _leased(job.pk, job.lease_owner).filter(state=job.state), **changes))


def give_up_lost(machine_id: UUID, held: Iterable[UUID]) -> int:
    """The machine is back and says which jobs it holds: its other running ones are given up at once; how many.

    Only offered jobs are concerned; a backup that was begun by hand is not the daemon's to know of.
    """
    with without_tenant_scope("the machine's certificate says whose jobs these are"), transaction.atomic():
        lost = Job.objects.filter(machine_id=machine_id, state__in=(JobState.RUNNING, JobState.CANCELLING))
        lost = lost.exclude(pk__in=list(held)).exclude(dedupe_key__startswith=BY_HAND)
        jobs = list(lost.select_for_update(of=("self",)))
        ending = Ending("temporary", causes.Cause(causes.BEGUN_ANEW, ""), None, {})
        return sum(end_job(job, ending) for job in jobs)


BY_HAND = "hand:"
"""How the dedupe key of a backup begins that a machine began by itself."""


def cancellations(machine_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
    """The jobs of these machines that their agents should stop: (job, lease)."""
    with without_tenant_scope("a gateway holds machines of many tenants"):
        asked = Job.objects.filter(state=JobState.CANCELLING, machine_id__in=list(machine_ids))
        return list(asked.values_list("pk", "lease_owner"))


def _leased(job_id: UUID, lease: str) -> QuerySet[Job]:
    """The job, if this lease is the one that was given last."""
    jobs = Job.objects.filter(pk=job_id, machine__isnull=False).exclude(lease_owner="")
    return jobs.filter(lease_owner=lease)
