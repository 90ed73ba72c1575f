"""Reading machines."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery

from backup_platform.catalog.models import Snapshot

from .models import GroupMembership, Machine, MachineGroup


def with_last_snapshot(machines: QuerySet[Machine]) -> QuerySet[Any]:
    """Machines with `last_received_at` and `last_snapshot_state` of their newest snapshot (None without one)."""
    newest = Snapshot.objects.filter(machine=OuterRef("pk")).order_by("-sequence")
    return machines.annotate(
        last_received_at=Subquery(newest.values("received_at")[:1]),
        last_snapshot_state=Subquery(newest.values("state")[:1]),
    )


def with_machine_count(groups: QuerySet[MachineGroup]) -> QuerySet[Any]:
    """Groups with `machine_count` (None: none)."""
    members = GroupMembership.objects.filter(group=OuterRef("pk")).order_by().values("group")
    counts = members.annotate(found=Count("pk")).values("found")
    return groups.annotate(machine_count=Subquery(counts, output_field=IntegerField()))
