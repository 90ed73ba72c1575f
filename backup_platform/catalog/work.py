"""The jobs that the catalogue asks for: one name each, so that asking twice is asking once."""

from __future__ import annotations

from backup_platform.catalog.models import Pack, Snapshot, SnapshotState
from backup_platform.jobs.models import Job, JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.vaults.models import Vault

MAX_WOKEN = 10_000
"""Snapshots woken by one pack; the others are woken by later packs or by the sweep of waiting snapshots."""


def ask_to_verify(pack: Pack) -> Job:
    """Have a sealed pack re-read and compared."""
    return enqueue(JobKind.VERIFY, subject=f"pack:{pack.pk}", tenant_id=pack.tenant_id)


def ask_to_deduplicate(pack: Pack) -> Job:
    """Have a verified pack's arrivals moved into its vault's index, and the pack placed in the target."""
    return enqueue(JobKind.DEDUPLICATE, subject=f"pack:{pack.pk}", tenant_id=pack.tenant_id)


def ask_to_complete(snapshot: Snapshot) -> Job:
    """Have a received (or damaged) snapshot checked against the index."""
    return enqueue(JobKind.VERIFY, subject=f"snapshot:{snapshot.pk}", tenant_id=snapshot.tenant_id)


def wake_waiting_snapshots(vault: Vault, *, damaged_too: bool = False) -> int:
    """Have every snapshot of the vault checked that may have been waiting for what just became known."""
    states = [SnapshotState.RECEIVED] + ([SnapshotState.DAMAGED] if damaged_too else [])
    waiting = Snapshot.objects.filter(vault=vault, state__in=states).order_by("received_at")[:MAX_WOKEN]
    return len([ask_to_complete(snapshot) for snapshot in waiting.only("pk", "tenant_id").iterator()])
