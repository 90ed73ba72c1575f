"""Policies that run after another one: made due when its job on the same machine has succeeded."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.utils import timezone

from backup_platform.fleet.models import MachineState
from backup_platform.jobs.asking import request_backup
from backup_platform.jobs.models import Job, JobKind, JobOrigin, JobState

from . import orders
from .following import AFTER
from .models import Plan
from .orders import Order
from .planned import key_of, permission_of, schedule_text
from .terms import terms_of
from .timetable import HORIZON, ScheduleFault
from .timetable.clocks import as_time, moment

SUCCEEDED = (JobState.DONE, JobState.WARNINGS)


def after_job_ended(job: Job) -> list[UUID]:
    """Ask for the backups that follow a job which ended done or with warnings; the ids of those made.

    Call it in the transaction that ended the job, in its tenant's scope. Repeating it makes nothing twice: the due
    time is the job's end, or the first moment after it that windows and blackouts permit.
    """
    if job.kind != JobKind.BACKUP or job.state not in SUCCEEDED or not job.policy_id or not job.machine_id:
        return []
    found = (_follow(plan, job) for plan in _followers(job.machine_id, job.policy_id))
    return [made for made in found if made is not None]


def _followers(machine_id: UUID, policy_id: UUID) -> list[Plan]:
    following = Plan.objects.filter(
        machine_id=machine_id,
        shared__values__contains={AFTER: str(policy_id)},
        policy__paused_at=None,
        machine__paused_at=None,
        machine__state=MachineState.ACTIVE,
    )
    return list(following.exclude(policy_id=policy_id).select_related("policy", "machine", "shared"))


def _follow(plan: Plan, job: Job) -> UUID | None:
    ended = job.finished_at or timezone.now()
    due = _permitted(plan, ended)
    if due is None:
        return None
    terms = terms_of(schedule_text(plan.settings))
    name = job.policy.name if job.policy else "another policy"
    made = request_backup(
        plan.policy,
        plan.machine,
        due_at=due,
        deadline=None if terms.patience is None else due + terms.patience,
        priority=terms.priority,
        origin=JobOrigin.SCHEDULE,
        asked_by=f"after “{name}”",
        settings=plan.settings,
    )
    if made is None:
        busy = Order(plan.pk, key_of(plan.policy_id, plan.machine_id), due, terms, again(due))
        orders.note([busy], timezone.now(), own=False)
    return made


def again(due: datetime) -> str:
    """The note to a job that is not finished when it is due again."""
    return f"Due again at {due:%Y-%m-%d %H:%M} UTC; as this run was not finished, no second one was begun."


def _permitted(plan: Plan, ended: datetime) -> datetime | None:
    """When it may begin; None if windows and blackouts never let it."""
    try:
        permission = permission_of(plan.settings, plan.zone or "UTC")
    except ScheduleFault:
        return None
    end = moment(ended)
    if permission.holds(end):
        return ended
    found = permission.first_from(end, end + HORIZON)
    return None if found is None else as_time(found)
