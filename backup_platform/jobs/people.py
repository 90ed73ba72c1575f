"""What people do with jobs: cancel, try again, run now, pause. `by` is the audit's name of who does it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.jobs.asking import request_backup, request_restore
from backup_platform.jobs.drills import drill_now
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.models import Job, JobKind, JobOrigin, JobState
from backup_platform.jobs.running_on_machines import BY_HAND
from backup_platform.jobs.services import enqueue
from backup_platform.jobs.states import Step, take
from backup_platform.jobs.waking import wake
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope

RETRIED = (JobState.FAILED, JobState.MISSED, JobState.CANCELLED, JobState.WARNINGS)
COPIED = ("tenant_id", "kind", "subject", "dedupe_key", "machine_id", "policy_id", "priority", "max_attempts", "spec")
MOST_RETRIED = 1_000
RECENT = timedelta(days=7)


def cancel(job: Job, by: str) -> bool:
    """Cancel a machine's job: at once while it waits, else its machine is asked to stop it. Audited.

    False: it has ended, or somebody cancelled it before. Raises `JobRefused` for a worker's job.
    """
    if job.machine_id is None:
        raise JobRefused("Work on stored data is not cancelled: it is short, and what it checks needs checking.")
    with tenant_scope(job.tenant_id), transaction.atomic():
        mine = Job.objects.filter(pk=job.pk)
        now = timezone.now()
        reason = f"Cancelled by {by}."[:500]
        done = take(Step.WITHDRAW, mine, last_error=reason, advice="", cancel_asked_at=now)
        done = done or take(Step.ASK_TO_STOP, mine, last_error=reason, advice="", cancel_asked_at=now)
        if done:
            _audit("job.cancelled", job, by)
            wake(job.machine_id)
    return bool(done)


def retry(job: Job, by: str) -> UUID | None:
    """Make a job that did not succeed anew; the new job's id, None when the same is unfinished already. Audited.

    Raises `JobRefused` for a job that can only be begun elsewhere, or that needs no second try.
    """
    if job.state not in RETRIED:
        raise JobRefused("Only a job that failed, was missed or was cancelled can be tried again.")
    if job.dedupe_key.startswith(BY_HAND):
        raise JobRefused(f"That {job.kind} was begun on the machine; begin it there again: strongroom {job.kind}.")
    with tenant_scope(job.tenant_id), transaction.atomic():
        made = _again(job, by)
        if made is not None:
            _audit("job.retried", job, by, made=made)
    return made


def _again(job: Job, by: str) -> UUID | None:
    if job.machine is None:
        return enqueue(job.kind, subject=job.subject, tenant_id=job.tenant_id, dedupe_key=job.dedupe_key)
    if job.kind == JobKind.RESTORE:
        spec = job.spec
        snapshot = UUID(spec["snapshot"])
        return request_restore(job.machine, snapshot, paths=spec["paths"], into=spec["into"], asked_by=by)
    if job.kind == JobKind.DRILL:
        return drill_now(job.machine, by)
    return _same_backup(job, by)


def _same_backup(job: Job, by: str) -> UUID | None:
    values: dict[str, Any] = {name: getattr(job, name) for name in COPIED}
    made = Job(id=uuid4(), origin=JobOrigin.PERSON, asked_by=by[:200], **values)
    Job.objects.bulk_create([made], ignore_conflicts=True)
    if not Job.objects.filter(pk=made.pk).exists():
        return None
    if job.machine_id is not None:
        wake(job.machine_id)
    return made.pk


def retry_failed(tenant_id: UUID, by: str, *, recent: timedelta = RECENT) -> int:
    """Try again every backup of machines whose last run in this time failed or was missed; how many. Audited.

    Of each policy on each machine only the newest job counts: what succeeded since is not repeated.
    """
    with tenant_scope(tenant_id):
        since = timezone.now() - recent
        jobs = Job.objects.filter(machine__isnull=False, kind=JobKind.BACKUP, created_at__gte=since)
        newest = jobs.order_by("dedupe_key", "-created_at", "-id").distinct("dedupe_key")
        failed = Job.objects.filter(pk__in=newest.values("pk"), state__in=(JobState.FAILED, JobState.MISSED))
        again = failed.exclude(dedupe_key__startswith=BY_HAND).exclude(machine__state=MachineState.REVOKED)
        return sum(retry(job, by) is not None for job in list(again.select_related("machine")[:MOST_RETRIED]))


def run_now(policy: Policy, machine: Machine, by: str) -> UUID | None:
    """Run a policy on a machine now, whatever its schedule says; None: it is at work or waiting already. Audited.

    Raises `JobRefused` while machine or policy is paused, or the policy does not apply to the machine.
    """
    from backup_platform.policies.effective import effective_many

    if machine.state != MachineState.ACTIVE:
        raise JobRefused(f"{machine.name} may not connect, so it cannot be asked for a backup.")
    for paused, name in ((machine.paused_at, machine.name), (policy.paused_at, policy.name)):
        if paused:
            raise JobRefused(f"{name} is paused: resume it first.")
    with tenant_scope(machine.tenant_id), transaction.atomic():
        found = effective_many([policy], [machine]).get((policy.pk, machine.pk))
        if found is None:
            raise JobRefused(f"{policy.name} does not apply to {machine.name}: assign it to the machine or its group.")
        settings = {name: one.value for name, one in found.items()}
        made = request_backup(policy, machine, origin=JobOrigin.PERSON, asked_by=by, settings=settings)
        if made is not None:
            _audit_machine("job.run_now", machine, by, job=made, policy=policy.name)
    return made


def pause_machine(machine: Machine, by: str) -> bool:
    """Offer this machine no backups until somebody resumes it; what runs goes on. False: it is paused. Audited."""
    with tenant_scope(machine.tenant_id), transaction.atomic():
        done = Machine.objects.filter(pk=machine.pk, paused_at=None).update(paused_at=timezone.now())
        if done:
            _replan(machine)
            _audit_machine("machine.paused", machine, by)
    return bool(done)


def resume_machine(machine: Machine, by: str) -> bool:
    """Offer this machine backups again: those that wait now, others at their times. False: not paused. Audited."""
    with tenant_scope(machine.tenant_id), transaction.atomic():
        done = Machine.objects.filter(pk=machine.pk, paused_at__isnull=False).update(paused_at=None)
        if done:
            _replan(machine)
            _audit_machine("machine.resumed", machine, by)
            wake(machine.pk)
    return bool(done)


def _replan(machine: Machine) -> None:
    from backup_platform.policies.planning import replan

    replan(machine.tenant_id, machines=[machine.pk])


def pause_policy(policy: Policy, by: str) -> bool:
    """Let nothing of this policy become due, and offer nothing of it. False: it is paused already. Audited."""
    return _set_policy(policy, by, "policy.paused", paused=True)


def resume_policy(policy: Policy, by: str) -> bool:
    """Let the policy become due again. False: it was not paused. Audited."""
    return _set_policy(policy, by, "policy.resumed", paused=False)


def _set_policy(policy: Policy, by: str, verb: str, *, paused: bool) -> bool:
    from backup_platform.policies.planning import replan

    with tenant_scope(policy.tenant_id), transaction.atomic():
        found = Policy.objects.filter(pk=policy.pk, paused_at__isnull=paused)
        if not found.update(paused_at=timezone.now() if paused else None):
            return False
        replan(policy.tenant_id, policies=[policy.pk])
        record_audit(verb, actor=by, object=f"policy:{policy.pk}", tenant=policy.tenant_id, name=policy.name)
    return True


def _audit(verb: str, job: Job, by: str, **detail: Any) -> None:
    detail |= {"kind": job.kind, "subject": job.subject}
    record_audit(verb, actor=by, object=f"job:{job.pk}", tenant=job.tenant_id, **detail)


def _audit_machine(verb: str, machine: Machine, by: str, **detail: Any) -> None:
    record_audit(verb, actor=by, object=f"machine:{machine.pk}", tenant=machine.tenant_id, name=machine.name, **detail)
