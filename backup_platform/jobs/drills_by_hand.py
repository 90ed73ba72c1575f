"""Drills that somebody begins on a machine: `strongroom drill` typed there. They stand in the one work list too.

The machine says how it ended when it has ended. From then on such a drill is like one that the platform asked for: it
proves its snapshot if it found no fault, and raises or ends the machine's alert about drills.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID, uuid5

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.jobs.drills import DRILLABLE
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.models import Job, JobKind, JobOrigin, JobState
from backup_platform.jobs.running_on_machines import BY_HAND, report
from backup_platform.tenants.scope import tenant_scope

OUTCOMES = ("done", "warnings", "failed")
"""How such a drill can have ended; of one that was broken off nothing is said."""
MOST_A_DAY = 48
"""Each leaves a row and a line in the audit, so a machine may not make them without end."""
LONGEST = 86_400
"""Seconds that a drill is believed to have taken."""


class TooManyDrills(JobRefused):
    """The machine has told of as many drills as it may within a day."""


def note_drill(
    machine: Machine,
    drill: UUID,
    snapshot_id: UUID,
    outcome: str,
    *,
    message: str = "",
    advice: str = "",
    counts: Mapping[str, int] | None = None,
) -> bool:
    """Keep how a drill by hand ended; whether it proves the snapshot, which has to be the machine's own. Audited.

    `drill` is the machine's name for this drill: told twice, it is kept once. Raises ValueError for another outcome,
    JobRefused for a snapshot that cannot be tried, TooManyDrills.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"{outcome!r} is no end of a drill: {', '.join(OUTCOMES)} are.")
    figures = dict(counts or {})
    row = _row(machine, uuid5(machine.pk, drill.hex), snapshot_id, figures.get("seconds", 0))
    with tenant_scope(machine.tenant_id), transaction.atomic():
        if not Job.objects.filter(pk=row.pk).exists():
            _check(machine, snapshot_id)
            Job.objects.bulk_create([row], ignore_conflicts=True)
        if report(row.pk, row.lease_owner, outcome, message=message, advice=advice, counts=figures):
            _write_down(machine, row, outcome)
        return _is_proven_by(row.pk)


def _check(machine: Machine, snapshot_id: UUID) -> None:
    if not Snapshot.objects.filter(pk=snapshot_id, machine=machine, state__in=DRILLABLE).exists():
        raise JobRefused("That snapshot is not this machine's, or it has expired.")
    since = timezone.now() - timedelta(days=1)
    told = Job.objects.filter(machine=machine, kind=JobKind.DRILL, origin=JobOrigin.MACHINE, created_at__gt=since)
    if told.count() >= MOST_A_DAY:
        raise TooManyDrills(f"This machine has told of {MOST_A_DAY} drills within a day; more are not kept.")


def _row(machine: Machine, pk: UUID, snapshot_id: UUID, seconds: int) -> Job:
    """The job as if it ran; it is never seen like this, for its end follows in the same transaction."""
    now = timezone.now()
    return Job(
        id=pk,
        tenant_id=machine.tenant_id,
        kind=JobKind.DRILL,
        subject=f"snapshot:{snapshot_id}",
        dedupe_key=f"{BY_HAND}drill:{pk.hex}",
        machine_id=machine.pk,
        snapshot=snapshot_id,
        origin=JobOrigin.MACHINE,
        asked_by=f"by hand on {machine.name}"[:200],
        state=JobState.RUNNING,
        attempts=1,
        max_attempts=1,
        lease_owner=secrets.token_hex(16),
        started_at=now - timedelta(seconds=min(max(seconds, 0), LONGEST)),
        spec={"snapshot": snapshot_id.hex},
    )


def _write_down(machine: Machine, row: Job, outcome: str) -> None:
    record_audit(
        "drill.by_hand",
        actor=f"machine {machine.name}",
        object=f"snapshot:{row.snapshot}",
        tenant=machine.tenant_id,
        job=row.pk,
        machine=machine.pk,
        outcome=outcome,
        proven=_is_proven_by(row.pk),
    )


def _is_proven_by(job_id: UUID) -> bool:
    job = Job.objects.get(pk=job_id)
    assert job.snapshot is not None
    return Snapshot.objects.filter(pk=job.snapshot, machine=job.machine_id, proven_at__gte=job.created_at).exists()
