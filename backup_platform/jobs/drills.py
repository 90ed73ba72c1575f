"""Drills: a machine restores a sample of a snapshot for trial. By the policies' calendar, or because somebody asks.

A drill that ends well without a fault makes its snapshot *proven*. Which are due is decided from rows: the newest proof
of a policy's snapshots on a machine, and when a drill of that machine was last asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.jobs.asking import MOST_URGENT
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.models import UNFINISHED, Job, JobKind, JobOrigin
from backup_platform.jobs.waking import wake
from backup_platform.tenants.scope import tenant_scope

DRILLABLE = (SnapshotState.RECEIVED, SnapshotState.VERIFIED, SnapshotState.DAMAGED)
FILES, MIB = 50, 256
"""The sample where no policy says another."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a drill is to try, and by whose policy. `settings` are a policy's, of which the limits go along."""

    files: int = FILES
    mib: int = MIB
    policy_id: UUID | None = None
    policy: str = ""
    settings: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, policy_id: UUID, policy: str, settings: Mapping[str, Any]) -> Terms:
        """As a policy's effective settings say."""
        files, mib = settings.get("drill.sample_files", FILES), settings.get("drill.sample_mib", MIB)
        return cls(files, mib, policy_id, policy, settings)

    def spec(self, snapshot_id: UUID) -> dict[str, Any]:
        """What the agent is told."""
        limits = {name: value for name, value in (self.settings or {}).items() if name.startswith("limits.")}
        whose = {"policy": self.policy, "policy_id": str(self.policy_id)} if self.policy_id else {}
        return {"snapshot": snapshot_id.hex, "files": self.files, "mib": self.mib, "settings": limits, **whose}


def request_drill(machine: Machine, snapshot_id: UUID, *, by: str, terms: Terms | None = None) -> UUID | None:
    """Ask a machine, for a person, to try one of its own snapshots; the job's id. Audited.

    None: a drill of this machine waits or runs already. Raises `JobRefused` with what to do instead.
    """
    with tenant_scope(machine.tenant_id), transaction.atomic():
        _check_able(machine)
        if not Snapshot.objects.filter(pk=snapshot_id, machine=machine, state__in=DRILLABLE).exists():
            raise JobRefused("That snapshot is expired or not complete. Choose another one of this machine.")
        made = put_on_list(machine.pk, machine.tenant_id, snapshot_id, terms or Terms(), asked_by=by)
        if made is not None:
            detail = {"job": made, "snapshot": snapshot_id, "name": machine.name}
            record_audit(
                "drill.requested", actor=by, object=f"machine:{machine.pk}", tenant=machine.tenant_id, **detail
            )
    return made


def put_on_list(
    machine_id: UUID, tenant_id: UUID, snapshot_id: UUID, terms: Terms, *, asked_by: str = ""
) -> UUID | None:
    """Make the job, in the scope and transaction in force; None when the machine has an unfinished drill.

    No policy stands in the row itself: a drill serves no due time, and nothing follows it.
    """
    job = Job(
        id=uuid4(),
        tenant_id=tenant_id,
        kind=JobKind.DRILL,
        subject=f"snapshot:{snapshot_id}",
        dedupe_key=f"drill:{machine_id}",
        machine_id=machine_id,
        snapshot=snapshot_id,
        origin=JobOrigin.PERSON if asked_by else JobOrigin.SCHEDULE,
        asked_by=asked_by[:200],
        priority=MOST_URGENT if asked_by else 0,
        spec=terms.spec(snapshot_id),
    )
    Job.objects.bulk_create([job], ignore_conflicts=True)
    if not Job.objects.filter(pk=job.pk).exists():
        return None
    wake(machine_id)
    return job.pk


def _check_able(machine: Machine) -> None:
    if machine.write_only:
        raise JobRefused(
            f"{machine.name} may write only, and reads nothing back: it cannot drill. Try its snapshot on any machine "
            f"of the vault with the kit: strongroom drill --kit DIR --machine {machine.name}."
        )
    if machine.state != MachineState.ACTIVE:
        raise JobRefused(f"{machine.name} may not connect any more, so it can try nothing.")


def newest_drillable(machine: Machine) -> UUID | None:
    """The machine's newest snapshot that can be tried, the verified ones first; None without any."""
    found = Snapshot.objects.filter(machine=machine, state__in=DRILLABLE).order_by("-received_at")
    good = found.filter(state=SnapshotState.VERIFIED)
    return good.values_list("pk", flat=True).first() or found.values_list("pk", flat=True).first()


def drill_now(machine: Machine, by: str) -> UUID | None:
    """As `request_drill`, of the machine's newest snapshot. Raises `JobRefused`."""
    _check_able(machine)
    with tenant_scope(machine.tenant_id):
        chosen = newest_drillable(machine)
    if chosen is None:
        raise JobRefused(f"{machine.name} has no snapshot yet that could be tried. Run a backup first.")
    return request_drill(machine, chosen, by=by)


def note_proof(job: Job, counts: Mapping[str, int]) -> None:
    """A drill has ended well, in the transaction in force: without a fault its snapshot is proven.

    The snapshot is the one that was asked for, and this machine's own: what a report names does not count.
    """
    if job.kind != JobKind.DRILL or job.snapshot is None:
        return
    if counts.get("faults") == 0 and counts.get("damaged", 0) == 0:
        own = Snapshot.objects.filter(pk=job.snapshot, machine=job.machine_id)
        own.update(proven_at=timezone.now())


def is_drilling(machine_id: UUID) -> bool:
    """Whether a drill of the machine waits or runs."""
    return Job.objects.filter(machine=machine_id, kind=JobKind.DRILL, state__in=UNFINISHED).exists()
