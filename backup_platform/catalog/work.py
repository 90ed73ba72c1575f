"""The jobs that the catalogue asks for: one name each, so that asking twice is asking once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db.models import Model, Q, QuerySet

from backup_platform.catalog.models import Pack, PackPlace, PackState, Snapshot, SnapshotState
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.vaults.models import Vault

Row = TypeVar("Row", bound=Model)
MAX_WOKEN = 1_000
"""Snapshots woken by one pack, the oldest first; a waiting one also looks again by itself."""


def ask_to_verify(pack: Pack) -> None:
    """Have a sealed pack re-read and compared."""
    enqueue(JobKind.VERIFY, subject=f"pack:{pack.pk}", tenant_id=pack.tenant_id)


def ask_to_deduplicate(pack: Pack) -> None:
    """Have a verified pack's arrivals moved into its vault's index, and the pack placed in the target."""
    enqueue(JobKind.DEDUPLICATE, subject=f"pack:{pack.pk}", tenant_id=pack.tenant_id)


def ask_to_complete(snapshot: Snapshot) -> None:
    """Have a received (or damaged) snapshot checked against the index."""
    enqueue(JobKind.VERIFY, subject=f"snapshot:{snapshot.pk}", tenant_id=snapshot.tenant_id)


def ask_again() -> int:
    """Ask for everything that the rows say is still to be done; returns for how much.

    The safety net under the jobs: one that failed for good must not leave a pack unverified for ever.
    """
    unplaced = Q(deduplicated_at__isnull=True) | Q(place=PackPlace.SPOOL)
    checked = Pack.objects.filter(unplaced, state__in=[PackState.VERIFIED, PackState.DAMAGED])
    received = Snapshot.objects.filter(state=SnapshotState.RECEIVED).only("pk", "tenant_id")
    return (
        _ask_each(Pack.objects.filter(state=PackState.SEALED), ask_to_verify)
        + _ask_each(checked, ask_to_deduplicate)
        + _ask_each(received, ask_to_complete)
    )


def _ask_each(rows: QuerySet[Row], ask: Callable[[Row], None]) -> int:
    count = 0
    for row in rows.order_by("pk").iterator(chunk_size=MAX_WOKEN):
        ask(row)
        count += 1
    return count


def wake_waiting_snapshots(vault: Vault, *, damaged_too: bool = False) -> int:
    """Have every snapshot of the vault checked that may have been waiting for what just became known."""
    states = [SnapshotState.RECEIVED] + ([SnapshotState.DAMAGED] if damaged_too else [])
    waiting = Snapshot.objects.filter(vault=vault, state__in=states).order_by("received_at")[:MAX_WOKEN]
    woken = list(waiting.only("pk", "tenant_id"))
    for snapshot in woken:
        ask_to_complete(snapshot)
    return len(woken)
