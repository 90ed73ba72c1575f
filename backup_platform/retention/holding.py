"""What the holds in force cover: as a condition for queries, and as the cases that cover one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import Q, QuerySet

from backup_platform.catalog.models import Snapshot

from .models import Hold, HoldScope

NOTHING = Q(pk__in=[])


def in_force(tenant_id: UUID | None, now: datetime) -> QuerySet[Hold]:
    """The holds that are in force: of a tenant, or of all of them. One whose end has come is not, released or not."""
    holds = Hold.objects.filter(Q(until__isnull=True) | Q(until__gt=now), released_at__isnull=True)
    return holds if tenant_id is None else holds.filter(tenant_id=tenant_id)


def covered(hold: Hold) -> Q:
    """The condition on snapshots that a hold covers, those to come included."""
    condition = Q(tenant_id=hold.tenant_id)
    if hold.scope == HoldScope.MACHINE:
        condition &= Q(machine_id=hold.machine_id)
    elif hold.scope == HoldScope.POLICY:
        condition &= Q(policy_id=hold.policy_id)
    elif hold.scope == HoldScope.SNAPSHOT:
        condition &= Q(pk=hold.snapshot_id)
    if hold.received_from:
        condition &= Q(received_at__gte=hold.received_from)
    if hold.received_until:
        condition &= Q(received_at__lt=hold.received_until)
    return condition


def held(tenant_id: UUID | None, now: datetime) -> Q:
    """The condition on snapshots that any hold in force covers."""
    condition = NOTHING
    for hold in in_force(tenant_id, now):
        condition |= covered(hold)
    return condition


def covers(hold: Hold, snapshot: Snapshot) -> bool:
    """Whether a hold covers one snapshot: the same condition, without a query."""
    whose = {
        HoldScope.MACHINE: hold.machine_id == snapshot.machine_id,
        HoldScope.POLICY: hold.policy_id == snapshot.policy_id,
        HoldScope.SNAPSHOT: hold.snapshot_id == snapshot.pk,
    }
    if hold.tenant_id != snapshot.tenant_id or not whose.get(HoldScope(hold.scope), True):
        return False
    if hold.received_from and snapshot.received_at < hold.received_from:
        return False
    return not (hold.received_until and snapshot.received_at >= hold.received_until)


def cases_of(snapshot: Snapshot, holds: Sequence[Hold]) -> tuple[str, ...]:
    """The cases of those holds that cover a snapshot."""
    return tuple(hold.case for hold in holds if covers(hold, snapshot))
