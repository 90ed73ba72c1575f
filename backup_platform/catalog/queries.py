"""Reading the catalogue for people and agents, in the tenant scope in force. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.catalog.needs import block_ids
from backup_platform.fleet.models import Machine

MAX_LISTED = 1_000
COMMITTED = (SnapshotState.RECEIVED, SnapshotState.VERIFIED, SnapshotState.DAMAGED)


def list_snapshots(machine: Machine, *, before: int = 0, limit: int = MAX_LISTED) -> tuple[list[Snapshot], bool]:
    """A machine's snapshots that have not expired, newest first, and whether there are more.

    `before` is a sequence number to go on from (0: from the newest).
    """
    limit = max(1, min(limit, MAX_LISTED))
    snapshots = Snapshot.objects.filter(machine=machine, state__in=COMMITTED).defer("bitmap", "blocks", "recipients")
    if before:
        snapshots = snapshots.filter(sequence__lt=before)
    found = list(snapshots.select_related("machine").order_by("-sequence")[: limit + 1])
    return found[:limit], len(found) > limit


def find_snapshot(machine: Machine, snapshot_id: UUID) -> Snapshot | None:
    """A machine's snapshot that has not expired, or None: missing and foreign look the same."""
    mine = Snapshot.objects.filter(machine=machine, state__in=COMMITTED)
    return mine.select_related("vault", "machine").defer("bitmap").filter(pk=snapshot_id).first()


def names_block(snapshot: Snapshot, block_id: bytes) -> bool:
    """Whether a reference block is one of the snapshot's: knowing an id is never a right to read."""
    return block_id in block_ids(snapshot)


def snapshot_states(machine: Machine, snapshot_ids: Sequence[UUID]) -> dict[UUID, str]:
    """The states of those of at most 1,000 snapshots that are the machine's."""
    mine = Snapshot.objects.filter(machine=machine, pk__in=list(snapshot_ids)[:MAX_LISTED])
    return dict(mine.values_list("pk", "state"))
