"""Asking machines for work: backups, restores. A job that is asked for twice is made once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.models import Job, JobKind, JobOrigin
from backup_platform.jobs.waking import wake, wake_all
from backup_platform.policies.models import Policy
from backup_platform.policies.terms import told
from backup_platform.tenants.scope import ScopeError, tenant_scope

MOST_PATHS = 1_000
LONGEST_PATH = 4_096
FEWEST_ATTEMPTS, MOST_ATTEMPTS, USUAL_ATTEMPTS = 1, 10, 5
FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
RESTORABLE = (SnapshotState.RECEIVED, SnapshotState.VERIFIED, SnapshotState.DAMAGED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A backup that is wanted: what `request_backup` takes, as one thing."""

    policy: Policy
    machine: Machine
    due_at: datetime | None = None
    deadline: datetime | None = None
    priority: int = 0
    origin: str = JobOrigin.SCHEDULE
    asked_by: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


def request_backup(
    policy: Policy,
    machine: Machine,
    *,
    due_at: datetime | None = None,
    deadline: datetime | None = None,
    priority: int = 0,
    origin: str,
    asked_by: str,
    settings: dict[str, Any],
) -> UUID | None:
    """Ask a machine for a backup by a policy, with these effective settings; the job's id.

    None: that due time has its job already, or a job of this policy on this machine is not finished yet.
    """
    wanted = Wanted(policy, machine, due_at, deadline, priority, origin, asked_by, settings)
    with tenant_scope(machine.tenant_id):
        return request_backups([wanted])[0]


def request_backups(wanted: Sequence[Wanted]) -> list[UUID | None]:
    """As `request_backup`, for many at once, in a few statements whatever their number; answers in their order.

    The unique due time and the one unfinished job of a policy on a machine are the database's to keep, so asking twice
    at the same moment makes one job. Raises ScopeError for a machine of another tenant than the policy's.
    """
    jobs = [_backup_of(one) for one in wanted]
    with transaction.atomic():
        Job.objects.bulk_create(jobs, ignore_conflicts=True)
        made = set(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("pk", flat=True))
        wake_all(one.machine.pk for one, job in zip(wanted, jobs, strict=True) if job.pk in made)
    return [job.pk if job.pk in made else None for job in jobs]


def _backup_of(wanted: Wanted) -> Job:
    policy, machine = wanted.policy, wanted.machine
    if policy.tenant_id != machine.tenant_id:
        raise ScopeError("A policy of one tenant cannot be run on a machine of another.")
    return Job(
        id=uuid4(),
        tenant_id=machine.tenant_id,
        kind=JobKind.BACKUP,
        subject=f"machine:{machine.pk}",
        dedupe_key=f"backup:{policy.pk}:{machine.pk}",
        machine_id=machine.pk,
        policy_id=policy.pk,
        due_at=wanted.due_at,
        next_attempt_at=max(timezone.now(), wanted.due_at or timezone.now()),
        deadline=wanted.deadline,
        priority=wanted.priority,
        origin=wanted.origin,
        asked_by=wanted.asked_by[:200],
        max_attempts=_attempts(wanted.settings),
        spec={"policy": policy.name, "policy_id": str(policy.pk), "settings": told(wanted.settings)},
    )


def _attempts(settings: dict[str, Any]) -> int:
    wanted = settings.get("schedule.attempts")
    return min(max(wanted, FEWEST_ATTEMPTS), MOST_ATTEMPTS) if isinstance(wanted, int) else USUAL_ATTEMPTS


def request_restore(
    machine: Machine, snapshot_id: UUID, *, paths: Iterable[str] = (), into: str = "", asked_by: str
) -> UUID:
    """Ask a machine to restore from one of its own snapshots; the job's id. Audited.

    `paths` are absolute paths in the snapshot (none: all of it). `into` is the NAME of a restore folder that the
    machine's own configuration defines, or "" for a fresh directory of its choice: never a path. Raises `JobRefused`.
    """
    asked, folder = clean_paths(paths), clean_folder(into)
    with tenant_scope(machine.tenant_id):
        _check_restorable(machine, snapshot_id)
        with transaction.atomic():
            job_id = uuid4()
            Job.objects.create(
                id=job_id,
                tenant_id=machine.tenant_id,
                kind=JobKind.RESTORE,
                subject=f"snapshot:{snapshot_id}",
                dedupe_key=f"restore:{job_id.hex}",
                machine_id=machine.pk,
                snapshot=snapshot_id,
                origin=JobOrigin.PERSON,
                asked_by=asked_by[:200],
                priority=MOST_URGENT,
                spec={"snapshot": snapshot_id.hex, "paths": asked, "into": folder},
            )
            record_audit(
                "restore.requested",
                actor=asked_by,
                object=f"machine:{machine.pk}",
                tenant=machine.tenant_id,
                job=job_id,
                snapshot=snapshot_id,
                paths=len(asked),
                into=folder,
            )
            wake(machine.pk)
    return job_id


MOST_URGENT = 10
"""Somebody waits for a restore; schedules have priorities up to the same."""


def _check_restorable(machine: Machine, snapshot_id: UUID) -> None:
    found = Snapshot.objects.filter(pk=snapshot_id, state__in=RESTORABLE)
    owner = found.values_list("machine_id", "machine__name").first()
    if owner is None:
        raise JobRefused("There is no such snapshot, or it is not complete. Choose one from the machine's list.")
    if owner[0] != machine.pk:
        raise JobRefused(
            f"That snapshot is of {owner[1]}, and {machine.name} cannot open it. Restore it on {owner[1]}, or on any "
            f"machine with the vault's kit: strongroom restore --kit DIR --machine {owner[1]}."
        )
    if machine.write_only:
        raise JobRefused(f"{machine.name} may write only, and read no snapshot. Restore with the vault's kit instead.")
    if machine.state != MachineState.ACTIVE:
        raise JobRefused(f"{machine.name} may not connect any more. Restore on another machine with the vault's kit.")


def clean_paths(paths: Iterable[str]) -> list[str]:
    """Paths as an agent takes them. Raises `JobRefused` for what cannot be a path in a snapshot."""
    asked = [str(path) for path in paths]
    if len(asked) > MOST_PATHS:
        raise JobRefused(f"At most {MOST_PATHS:,} paths at a time; name their common directory instead.")
    for path in asked:
        if not path.startswith("/") or "\0" in path or len(path) > LONGEST_PATH:
            raise JobRefused(f"{path[:80]!r} is no path in a snapshot: it begins with / as on the machine.")
        if ".." in path.split("/"):
            raise JobRefused(f"{path[:80]!r} leads upwards (..): write the path in full.")
    return asked


def clean_folder(into: str) -> str:
    """The name of a restore folder. Raises `JobRefused` for a path: only the machine says where a restore writes."""
    if into and not FOLDER.fullmatch(into):
        raise JobRefused(
            f"{into[:80]!r} is no restore folder's name. Folders are named in the machine's own agent.toml, under "
            "[restore]; leave this empty for a fresh directory."
        )
    return into
