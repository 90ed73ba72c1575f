"""Which pauses of reclaim somebody sees, and how reclaim stands: for its page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db.models import Q, Sum
from django.utils import timezone

from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.models import ReclaimPause, ReclaimRound, RoundState
from backup_platform.vaults.models import Vault

LATELY = timedelta(days=30)


def pauses_seen(tenant_id: UUID | None) -> list[ReclaimPause]:
    """The pauses that hold for a tenant: the platform's and its own. None: all there are, with their tenants."""
    with without_tenant_scope("a pause of the platform belongs to no tenant"):
        pauses = ReclaimPause.objects.select_related("tenant")
        mine = pauses.filter(Q(tenant__isnull=True) | Q(tenant=tenant_id)) if tenant_id else pauses
        return sorted(mine, key=lambda pause: (pause.tenant_id is not None, pause.since))


def is_paused(tenant_id: UUID | None, *, endable_by_staff: bool = True) -> bool:
    """Whether there is a pause of this tenant's own (None: of the platform's); without staff: one that members end."""
    mine = [pause for pause in pauses_seen(tenant_id) if pause.tenant_id == tenant_id]
    return any(endable_by_staff or not pause.by_staff for pause in mine)


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """How reclaim stands in the scope in force."""

    rounds: bool
    """Whether there was a round at all."""
    stopped: int
    """Vaults whose newest round has stopped."""
    waits_for: str
    """What an unfinished round waits for; "" for none."""
    packs: int
    bytes: int
    """Of packs that were emptied in the last thirty days."""


def reclaimed() -> Reclaimed:
    """The newest round of every vault in the scope in force, and what was freed lately."""
    newest = ReclaimRound.objects.order_by("vault_id", "-number").distinct("vault_id")
    states = [(one.state, one.waits_for) for one in newest.only("state", "waits_for", "vault_id", "number")]
    since = timezone.now() - LATELY
    freed = ReclaimRound.objects.filter(ended_at__gte=since).aggregate(packs=Sum("packs"), bytes=Sum("pack_bytes"))
    return Reclaimed(
        rounds=bool(states),
        stopped=sum(state == RoundState.STOPPED for state, _ in states),
        waits_for=next((waits for state, waits in states if waits and state == RoundState.CONDEMNED), ""),
        packs=freed["packs"] or 0,
        bytes=freed["bytes"] or 0,
    )


def stored_at_all() -> bool:
    """Whether any vault in the scope in force holds data."""
    return Vault.objects.filter(next_number__gt=0).exists()
