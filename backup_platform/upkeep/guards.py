"""When reclaim does not act at all: a pause, snapshots that went missing, far too many that would go at once."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, Sum

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.errors import ReclaimRefused
from backup_platform.upkeep.models import ReclaimPause, ReclaimRound
from backup_platform.vaults.models import Vault

MOST_SHARE = 0.9
FEW = 20
"""Fewer than so many may go at once, whatever their share: a small vault may well be emptied."""
ACCEPT = "If that is as it should be, run `manage.py reclaim --accept-loss` for this tenant once."


def pause_in_force(tenant_id: UUID, *, for_staff: bool = False) -> str:
    """Why nothing may be taken away for this tenant just now; "" when it may.

    Rounds and jobs of the tenant keep it, so it does not tell what the platform's staff wrote, unless `for_staff`.
    """
    with without_tenant_scope("a pause of the platform belongs to no tenant"):
        pause = ReclaimPause.objects.filter(Q(tenant=tenant_id) | Q(tenant__isnull=True)).first()
    if pause is None:
        return ""
    if pause.by_staff and not for_staff:
        return f"Reclaim was paused by the platform's staff on {pause.since:%Y-%m-%d}."
    return f"Reclaim was paused by {pause.by} on {pause.since:%Y-%m-%d}{': ' + pause.reason if pause.reason else '.'}"


@dataclass(frozen=True, slots=True)
class Count:
    """A vault's snapshots: all rows, and those whose needs count."""

    rows: int
    counting: int


def count_snapshots(vault: Vault) -> Count:
    """How many snapshots the vault has now."""
    mine = Snapshot.objects.filter(vault=vault)
    return Count(mine.count(), mine.exclude(state=SnapshotState.RECLAIMED).count())


def expected_snapshots(vault: Vault) -> Count:
    """How many there are at least, by the vault's last round that counted them: what it saw, less what it retired.

    Rows of snapshots never go, and only reclaim makes one stop counting.
    """
    rounds = ReclaimRound.objects.filter(vault=vault)
    last = rounds.filter(condemned_at__isnull=False).order_by("-number").first()
    if last is None:
        return Count(0, 0)
    since = rounds.filter(number__gt=last.number).aggregate(retired=Sum("retired"))["retired"] or 0
    return Count(last.all_snapshots, last.snapshots - since)


def check_none_vanished(now: Count, expected: Count) -> None:
    """Raise ReclaimRefused when there are fewer than expected: somebody deleted rows, or the database is an older one
    than the store."""
    if now.rows < expected.rows or now.counting < expected.counting:
        raise ReclaimRefused(
            f"Snapshots have vanished from the catalogue: {now.rows} rows, {now.counting} of them in use, where the "
            f"last round saw {expected.rows} and {expected.counting}. Was the database brought back from an older "
            f"backup? Nothing is taken away. {ACCEPT}"
        )


def check_share(retiring: int, counting: int) -> None:
    """Raise ReclaimRefused when nearly all snapshots of a vault would go at once."""
    if retiring >= FEW and retiring > MOST_SHARE * counting:
        raise ReclaimRefused(
            f"{retiring} of the vault's {counting} snapshots would go at once. That is more than nine tenths: is the "
            f"retention as it should be? Nothing is taken away. {ACCEPT}"
        )


def check_not_empty(vault: Vault) -> None:
    """Raise ReclaimRefused for a vault that holds chunks and no snapshot: it is new, or is being rebuilt."""
    if vault.next_number and not Snapshot.objects.filter(vault=vault).exists():
        raise ReclaimRefused(
            "The vault holds data and no snapshot at all: its first backup is not finished yet, or the catalogue is "
            "being rebuilt. Nothing is taken away before there is a snapshot."
        )
