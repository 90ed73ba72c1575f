"""The sweep over machines' jobs: what a dead gateway, a silent machine or a passed deadline leaves is put right.

It looks at rows only. Rows that another sweep or a report holds are skipped, so two sweeps at once do nothing twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from backup_platform.fleet.models import MachineState
from backup_platform.jobs import causes
from backup_platform.jobs.models import UNFINISHED, Job, JobOrigin, JobState
from backup_platform.jobs.pauses import HAND_PATIENCE, LOST, MOST_DECLINED
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.telling import tell
from backup_platform.tenants.scope import without_tenant_scope

MOST_AT_ONCE = 500
"""Jobs that one sweep takes one step with: its transactions stay short, and the next sweep is seconds away."""
STOP_PATIENCE = timedelta(minutes=10)
"""A machine that still renews a job this long after it was asked to stop it is not waited for any more."""

BEGUN_BY_HAND = Q(origin=JobOrigin.MACHINE)


@dataclass(frozen=True, slots=True)
class SweptJobs:
    """How many machines' jobs one sweep changed, by what became of them."""

    queued: int
    failed: int
    missed: int
    cancelled: int


def sweep_agent_jobs() -> SweptJobs:
    """Take the steps that nobody took in time. Ends also when machines, gateways and workers are all away."""
    with without_tenant_scope("the sweep looks after every tenant's jobs"):
        now = timezone.now()
        return SweptJobs(
            queued=_free_offers(now) + _free_lost(now) + _keep_by_hand(now),
            failed=_fail_lost(now) + _fail_unanswered(now) + _fail_by_hand(now),
            missed=_miss(now),
            cancelled=_stop(now) + _withdraw(now),
        )


def _free_offers(now: datetime) -> int:
    lately = Q(declined_since=None) | Q(declined_since__gt=now - MOST_DECLINED)
    return _step(
        Step.UNANSWERED,
        _unanswered(now).filter(lately),
        causes.UNANSWERED,
        next_attempt_at=now + LOST,
        declined_since=Coalesce("declined_since", now),
        lease_owner="",
        lease_until=None,
    )


def _fail_unanswered(now: datetime) -> int:
    for_long = _unanswered(now).filter(declined_since__lte=now - MOST_DECLINED)
    return _step(Step.GIVE_UP, for_long, causes.NEVER_ANSWERED, told=True)


def _unanswered(now: datetime) -> QuerySet[Job]:
    return _agents().filter(state=JobState.OFFERED, lease_until__lt=now)


def _free_lost(now: datetime) -> int:
    """Back to the queue, with the lease kept: the machine may come back and go on, unless it is offered before."""
    lost = _lost(now).filter(attempts__lt=F("max_attempts")).exclude(BEGUN_BY_HAND)
    return _step(Step.TRY_AGAIN, lost, causes.SILENT, next_attempt_at=now + LOST, lease_until=None)


def _fail_lost(now: datetime) -> int:
    lost = _lost(now).filter(attempts__gte=F("max_attempts")).exclude(BEGUN_BY_HAND)
    return _step(Step.FAIL, lost, causes.SILENT_FOR_GOOD, told=True)


def _keep_by_hand(now: datetime) -> int:
    """Nobody else is ever offered it: it waits for its machine to go on, and then fails."""
    lost = _lost(now).filter(BEGUN_BY_HAND)
    return _step(Step.TRY_AGAIN, lost, causes.SILENT, next_attempt_at=now + HAND_PATIENCE, lease_until=None)


def _fail_by_hand(now: datetime) -> int:
    left = _agents().filter(BEGUN_BY_HAND, state=JobState.QUEUED, next_attempt_at__lte=now)
    return _step(Step.GIVE_UP, left, causes.LEFT_ALONE, told=True)


def _lost(now: datetime) -> QuerySet[Job]:
    return _agents().filter(state=JobState.RUNNING, lease_until__lt=now)


def _miss(now: datetime) -> int:
    late = _agents().filter(state=JobState.QUEUED, deadline__lte=now, attempts=0)
    for_room = Q(last_error=causes.NO_ROOM.message)
    missed = _step(Step.MISS, late.exclude(for_room), causes.MISSED, told=True)
    return missed + _step(Step.MISS, late.filter(for_room), causes.MISSED_FOR_ROOM, told=True)


def _stop(now: datetime) -> int:
    over = Q(lease_until__lt=now) | Q(cancel_asked_at__lt=now - STOP_PATIENCE)
    return _step(Step.STOP, _agents().filter(over, state=JobState.CANCELLING), causes.NOT_STOPPED)


def _withdraw(now: datetime) -> int:
    left = ~Q(machine__state__in=(MachineState.ACTIVE, MachineState.PENDING))
    waiting = _agents().filter(left, state__in=(JobState.QUEUED, JobState.OFFERED))
    return _step(Step.WITHDRAW, waiting, causes.MACHINE_LEFT)


def _agents() -> QuerySet[Job]:
    return Job.objects.filter(machine__isnull=False, state__in=UNFINISHED)


def _step(step: Step, jobs: QuerySet[Job], cause: causes.Cause, *, told: bool = False, **changes: Any) -> int:
    """Take one step with at most so many jobs that nobody else holds; tell the notifications of those that ended."""
    with transaction.atomic():
        free = jobs.order_by("next_attempt_at").select_for_update(of=("self",), skip_locked=True)
        ids: list[UUID] = list(free.values_list("pk", flat=True)[:MOST_AT_ONCE])
        if not ids:
            return 0
        said = {"last_error": cause.message, "advice": cause.advice}
        taken = take(step, Job.objects.filter(pk__in=ids), **{**said, **changes})
        if told:
            tell(ids)
        return taken
