"""Backups that a machine begins by itself: `strongroom backup` typed there. They stand in the one work list too.

The gateway that holds the backup's session keeps the row alive and says how it ended. Nobody can offer such a job
again, so it has one attempt. When its lease is over it waits in the queue for its machine, which goes on with the same
backup when it comes back; a quarter of an hour later the sweep fails it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import UNFINISHED, Job, JobKind, JobOrigin, JobState
from backup_platform.jobs.running_on_machines import BY_HAND, RUN_LEASE, progress, report
from backup_platform.jobs.states import Step, take
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

WHOSE = "the gateway names a job that it began itself"


def start_by_hand(machine: Machine, *, policy_name: str = "") -> UUID:
    """Note that the machine has begun a backup by itself; the job's id.

    A machine has one open session, so a second beginning before the first has ended is the same backup, resumed.
    """
    with tenant_scope(machine.tenant_id):
        policy = Policy.objects.filter(name=policy_name).first() if policy_name else None
        made = _row(machine, policy)
        with transaction.atomic():
            Job.objects.bulk_create([made], ignore_conflicts=True)
            unfinished = Job.objects.filter(dedupe_key=made.dedupe_key, state__in=UNFINISHED)
            unfinished.update(lease_until=made.lease_until, next_attempt_at=made.lease_until)
            _take_up(unfinished, made.lease_until)
            found = unfinished.values_list("pk", flat=True).first()
    # It may have ended between the two statements: the machine's next word then finds that out, as after a lost lease.
    return found or made.pk


def _row(machine: Machine, policy: Policy | None) -> Job:
    now = timezone.now()
    return Job(
        id=uuid4(),
        tenant_id=machine.tenant_id,
        kind=JobKind.BACKUP,
        subject=f"machine:{machine.pk}",
        dedupe_key=f"{BY_HAND}{machine.pk.hex}",
        machine_id=machine.pk,
        policy=policy,
        origin=JobOrigin.MACHINE,
        asked_by=f"machine {machine.name}"[:200],
        state=JobState.RUNNING,
        attempts=1,
        max_attempts=1,
        lease_owner=secrets.token_hex(16),
        lease_until=now + RUN_LEASE,
        next_attempt_at=now + RUN_LEASE,
        started_at=now,
        spec={"policy": policy.name, "policy_id": str(policy.pk)} if policy else {},
    )


def _take_up(jobs: QuerySet[Job], until: datetime | None) -> None:
    """Those that waited for their machine go on."""
    take(Step.RESUME, jobs, lease_until=until, next_attempt_at=until, last_error="", advice="")


def progress_by_hand(updates: Sequence[tuple[UUID, dict[str, Any]]]) -> set[UUID]:
    """As `progress`, for backups that were begun by hand; one whose lease was over meanwhile goes on."""
    with without_tenant_scope(WHOSE):
        asked = Job.objects.filter(pk__in=[job_id for job_id, _ in updates], dedupe_key__startswith=BY_HAND)
        _take_up(asked, timezone.now() + RUN_LEASE)
    leases = _leases([job_id for job_id, _ in updates])
    return progress([(job_id, leases[job_id], state) for job_id, state in updates if job_id in leases])


def finish_by_hand(
    job_id: UUID,
    outcome: str,
    *,
    message: str = "",
    advice: str = "",
    snapshot: UUID | None = None,
    counts: dict[str, int] | None = None,
) -> bool:
    """As `report`, for a backup that was begun by hand."""
    lease = _leases([job_id]).get(job_id, "")
    return report(job_id, lease, outcome, message=message, advice=advice, snapshot=snapshot, counts=counts)


def _leases(job_ids: Sequence[UUID]) -> dict[UUID, str]:
    with without_tenant_scope(WHOSE):
        jobs = Job.objects.filter(pk__in=list(job_ids), dedupe_key__startswith=BY_HAND, state__in=UNFINISHED)
        return dict(jobs.values_list("pk", "lease_owner"))
