"""The one table of what may become of a job. Every step is one guarded UPDATE, so of two at once one wins.

`take` is the only way from one state to another: it asks for the states that the step may start from in the UPDATE's
own condition. What else must hold (the lease, the time) is the caller's, in the queryset. docs/reference/jobs.md shows
the table; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from backup_platform.jobs.models import UNFINISHED, Job, JobState

QUEUED, OFFERED, RUNNING, CANCELLING = UNFINISHED
DONE, WARNINGS, FAILED = JobState.DONE, JobState.WARNINGS, JobState.FAILED
MISSED, CANCELLED = JobState.MISSED, JobState.CANCELLED


@dataclass(frozen=True, slots=True)
class Move:
    """A step's states before and after, and why it is taken."""

    before: tuple[JobState, ...]
    after: JobState
    reason: str


class Step(Enum):
    """Every step there is."""

    CLAIM = Move((QUEUED,), RUNNING, "a worker takes it")
    OFFER = Move((QUEUED,), OFFERED, "a gateway offers it to its machine")
    ACCEPT = Move((OFFERED,), RUNNING, "the machine takes it")
    DECLINE = Move((OFFERED,), QUEUED, "the machine cannot do it just now")
    UNANSWERED = Move((OFFERED,), QUEUED, "the offer's lease is over")
    RESUME = Move((QUEUED, OFFERED), RUNNING, "the machine that has it is back, and nobody else took it")
    WAIT = Move((RUNNING,), QUEUED, "it waits for something else")
    TRY_AGAIN = Move((RUNNING,), QUEUED, "its attempt failed for the time being, or its lease is over")
    FINISH = Move((RUNNING, CANCELLING), DONE, "all of it was done")
    FINISH_WITH_WARNINGS = Move((RUNNING, CANCELLING), WARNINGS, "it was done, but for some sources")
    FAIL = Move((RUNNING,), FAILED, "it failed, and trying again is no use or was tried enough")
    POISON = Move((QUEUED,), FAILED, "a worker finds it started too often")
    GIVE_UP = Move((QUEUED, OFFERED), FAILED, "its machine did not take it, or did not come back to it, for too long")
    MISS = Move((QUEUED,), MISSED, "its deadline passed before it began")
    WITHDRAW = Move((QUEUED, OFFERED), CANCELLED, "somebody cancelled it before it began, or its machine left")
    ASK_TO_STOP = Move((RUNNING,), CANCELLING, "somebody cancelled it while it ran")
    STOP = Move((RUNNING, CANCELLING), CANCELLED, "the machine stopped it, or did not answer the wish to")


def take(step: Step, jobs: QuerySet[Job], **changes: Any) -> int:
    """Take a step with those of `jobs` that it may start from, by one UPDATE; how many took it.

    A job that ends gets its time, and gives up its lease; so does one that goes back to the queue by itself.
    """
    move: Move = step.value
    if move.after not in UNFINISHED:
        changes = {"finished_at": timezone.now(), "lease_owner": "", "lease_until": None, **changes}
    return jobs.filter(state__in=move.before).update(state=move.after, **changes)


def diagram() -> str:
    """The table as it stands in the documentation: one line a step."""
    rows = [
        f"| {', '.join(state.value for state in step.value.before)} | {step.value.after.value} | {step.value.reason} |"
        for step in Step
    ]
    return "\n".join(["| from | to | when |", "|---|---|---|", *rows])
