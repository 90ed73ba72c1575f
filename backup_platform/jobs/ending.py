"""How an attempt of a machine's job ends: for good, or to be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from backup_platform.jobs import causes
from backup_platform.jobs.drills import note_proof
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.jobs.pauses import AUTHENTICATION_ATTEMPTS, pause_after
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.telling import tell

OUTCOMES = ("done", "warnings", "failed", "temporary", "cancelled")
STEPS = {"done": Step.FINISH, "warnings": Step.FINISH_WITH_WARNINGS, "failed": Step.FAIL, "cancelled": Step.STOP}


@dataclass(frozen=True, slots=True)
class Ending:
    """What a report says, with its cause in plain words."""

    outcome: str
    cause: causes.Cause
    snapshot: UUID | None
    counts: dict[str, int]

    @property
    def is_authentication(self) -> bool:
        """Whether the machine's key was refused."""
        return self.outcome in ("failed", "temporary") and self.counts.get("exit_code") == causes.EXIT_AUTHENTICATION


def end_job(job: Job, ending: Ending) -> bool:
    """Take the step that an ending means for a running job, in the transaction in force. False: it was too late.

    A failure of somebody who was asked to stop is the stop. What was temporary is tried again while attempts are left.
    """
    mine = Job.objects.filter(pk=job.pk, lease_owner=job.lease_owner)
    changes: dict[str, Any] = {
        "last_error": ending.cause.message,
        "advice": ending.cause.advice,
        "counts": ending.counts,
    }
    if ending.snapshot is not None and job.kind == JobKind.BACKUP:  # of the others the platform chose it
        changes["snapshot"] = ending.snapshot
    if job.state == JobState.CANCELLING and ending.outcome in ("failed", "temporary"):
        return bool(take(Step.STOP, mine, **changes))
    if _may_try_again(job, ending):
        return bool(take(Step.TRY_AGAIN, mine, **changes, **_queued_again(job, ending)))
    if not take(STEPS.get(ending.outcome, Step.FAIL), mine, **changes):
        return False
    if ending.outcome in ("done", "warnings"):
        note_proof(job, ending.counts)
    tell([job.pk])
    return True


def _may_try_again(job: Job, ending: Ending) -> bool:
    if ending.is_authentication:
        return job.attempts < min(job.max_attempts, AUTHENTICATION_ATTEMPTS)
    return ending.outcome == "temporary" and job.attempts < job.max_attempts


def _queued_again(job: Job, ending: Ending) -> dict[str, Any]:
    pause = pause_after(job.attempts, authentication=ending.is_authentication)
    return {"next_attempt_at": timezone.now() + pause, "lease_owner": "", "lease_until": None}
