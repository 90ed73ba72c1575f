"""Retiring: an expired snapshot that cannot be brought back any more stops counting. From here there is no way back."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from backup_platform.audit.services import record
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.models import Session, SessionState, Snapshot, SnapshotState
from backup_platform.retention.queries import reclaimable
from backup_platform.retention.turns import take_turn
from backup_platform.upkeep.models import ReclaimRound
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

BATCH = 100


def due_to_retire(vault: Vault) -> list[UUID]:
    """Snapshots whose days for bringing them back are over, and that no hold covers; the oldest first."""
    due = _due(Snapshot.objects.filter(vault=vault))
    return list(due.order_by("received_at").values_list("pk", flat=True))


def retire(round_: ReclaimRound, vault: Vault, ids: list[UUID], turn: Turn) -> int:
    """Let these snapshots stop counting, unless they were brought back or held meanwhile; how many did.

    Under the vault's exclusive lock: a commit that builds on one of them has been decided, or sees that it is gone.
    """
    done = 0
    for start in range(0, len(ids), BATCH):
        turn.check()
        with vault_lock(vault.number, shared=False):
            done += _retire(round_, vault, ids[start : start + BATCH])
    return done


def _retire(round_: ReclaimRound, vault: Vault, ids: list[UUID]) -> int:
    take_turn(vault.tenant_id)  # a hold that is being set is waited for, and then counts
    still = list(_due(Snapshot.objects.filter(vault=vault, pk__in=ids)).values_list("pk", flat=True))
    expired = Snapshot.objects.select_for_update(of=("self",)).filter(pk__in=still, state=SnapshotState.EXPIRED)
    going = list(expired.order_by("pk").values_list("pk", flat=True))
    if not going:
        return 0
    mine = Snapshot.objects.filter(pk__in=going, state=SnapshotState.EXPIRED)
    sessions = list(mine.exclude(session=None).values_list("session_id", flat=True))
    mine.update(state=SnapshotState.RECLAIMED, bitmap=None, blocks=b"", recipients=b"")
    Session.objects.filter(pk__in=sessions, state=SessionState.COMMITTED).update(state=SessionState.ENDED)
    ReclaimRound.objects.filter(pk=round_.pk).update(retired=round_.retired + len(going))
    round_.retired += len(going)
    record("snapshot.reclaimed", actor="reclaim", object=f"vault:{vault.pk}", tenant=vault.tenant_id,
           round=round_.number, snapshots=[pk.hex for pk in going])  # fmt: skip
    return len(going)


def _due(snapshots: QuerySet[Snapshot]) -> QuerySet[Snapshot]:
    return reclaimable(snapshots.filter(state=SnapshotState.EXPIRED))
