"""Probing as a job, so that no page waits for a bucket: asked for here, done by a worker, shown on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backup_platform.jobs.models import UNFINISHED, Job, JobKind, JobOrigin, JobState
from backup_platform.jobs.running import StillWaiting
from backup_platform.jobs.services import enqueue
from backup_platform.jobs.ticks import run_alone
from backup_platform.targets.errors import TargetChanged
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.probe import probe_target
from backup_platform.targets.queries import target_by_id
from backup_platform.tenants.scope import without_tenant_scope

WHY = "a shared target's probe belongs to no tenant"


def ask_probe(target: Target, *, actor: str) -> None:
    """Have a worker try a target soon, in the transaction in force. One that waits for its turn already is enough."""
    with without_tenant_scope(WHY):
        made = enqueue(JobKind.VERIFY, subject=_subject(target), tenant_id=target.tenant_id)
        if made is not None:
            Job.objects.filter(pk=made).update(origin=JobOrigin.PERSON, asked_by=actor[:200])


def work(job: Job) -> dict[str, Any]:
    """A job `verify target:<uuid>`: try it, keep what was found.

    StillWaiting while another target of the same owner is tried: who owns many slow ones holds one worker with them.
    """
    found: dict[str, Any] = {}
    if not run_alone(f"probe:{job.tenant_id}", lambda: found.update(_try(job))):
        raise StillWaiting("Another target is being probed; this one is next.")
    return found


def _try(job: Job) -> dict[str, Any]:
    target = target_by_id(UUID(job.subject.partition(":")[2]))
    if target.state == TargetState.RETIRED:
        return {}
    if target.probed_at is not None and target.probed_at > job.created_at:
        return {"usable": bool(target.flags.get("usable"))}  # somebody tried it at a prompt meanwhile
    try:
        report = probe_target(target, actor=job.asked_by or "the platform")
    except TargetChanged as changed:
        raise StillWaiting(str(changed)) from None
    return {"usable": report.usable, "fault": report.fault}


@dataclass(frozen=True, slots=True)
class Probing:
    """Where the asking for a target's probe stands."""

    job: Job | None
    """The newest one; None when nobody has asked, or its row was tidied away."""

    @property
    def moves(self) -> bool:
        """Whether it is worth looking again soon."""
        return self.job is not None and self.job.state in UNFINISHED

    @property
    def runs(self) -> bool:
        """Whether a worker is at it."""
        return self.job is not None and self.job.state == JobState.RUNNING

    @property
    def failed(self) -> bool:
        """Whether it came to no end at all: that says nothing about the target."""
        return self.job is not None and self.job.state == JobState.FAILED


def probing_of(target: Target) -> Probing:
    """How far the probe is that was asked for last."""
    with without_tenant_scope(WHY):
        mine = Job.objects.filter(subject=_subject(target), kind=JobKind.VERIFY)
        return Probing(mine.order_by("-created_at").first())


def _subject(target: Target) -> str:
    return f"target:{target.pk}"
