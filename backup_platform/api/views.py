"""Machines and snapshots, to read. The request's tenant scope, opened by the session's middleware, narrows both."""

from __future__ import annotations

from typing import Any

from django_filters import rest_framework as filters
from rest_framework import serializers, viewsets
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.permissions import BasePermission

from backup_platform.api.moments import MomentFilter, in_utc
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.console.site import actor_of
from backup_platform.fleet.models import Machine
from backup_platform.fleet.queries import with_last_snapshot
from backup_platform.tenants.access import may


class RolePermission(BasePermission):
    """The role table decides, as everywhere."""

    def has_permission(self, request: Any, view: Any) -> bool:
        """Whether the signed-in person may read this kind of row."""
        return may(actor_of(request), "view", view.model._meta.label)


class MachineSerializer(serializers.ModelSerializer):
    """A machine, without its keys."""

    last_snapshot_at = serializers.DateTimeField(source="last_received_at", allow_null=True, read_only=True)
    last_snapshot_state = serializers.ChoiceField(choices=SnapshotState.choices, allow_null=True, read_only=True)

    class Meta:
        model = Machine
        fields = ["id", "name", "tenant", "vault", "state", "write_only", "facts", "enrolled_at", "last_seen_at",
                  "certificate_until", "last_snapshot_at", "last_snapshot_state"]  # fmt: skip


class SnapshotSerializer(serializers.ModelSerializer):
    """A snapshot's state and figures."""

    class Meta:
        model = Snapshot
        fields = ["id", "machine", "tenant", "vault", "sequence", "state", "fault", "machine_time", "received_at",
                  "verified_at", "proven_at", "stored_bytes", "statistics"]  # fmt: skip


class ByName(CursorPagination):
    """Pages of machines: a cursor, for an offset would be counted out anew each time."""

    ordering = ("name", "id")
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 1000

    def decode_cursor(self, request: Any) -> Any:
        """The place to go on from. A cursor is anybody's text: one that no page gave is told like one that is none."""
        cursor: Any = super().decode_cursor(request)  # the place is a text, whatever its type is said to be
        if cursor is None or cursor.position is None:
            return cursor
        place = self.place(cursor.position)
        if place is None:
            raise NotFound(self.invalid_cursor_message)
        return cursor._replace(position=place)

    def place(self, written: str) -> str | None:
        """A cursor's place as the rows have it; None when there can be no such place."""
        return None if "\0" in written else written


class NewestFirst(ByName):
    """Pages of snapshots."""

    ordering = ("-received_at", "id")

    def place(self, written: str) -> str | None:
        """A time."""
        return in_utc(written)


class MachineFilter(filters.FilterSet):
    """Machines by name, state, vault."""

    class Meta:
        model = Machine
        fields = ["name", "state", "vault", "write_only"]


class SnapshotFilter(filters.FilterSet):
    """Snapshots by machine, vault, state, and time of arrival."""

    since = MomentFilter(field_name="received_at", lookup_expr="gte")
    until = MomentFilter(field_name="received_at", lookup_expr="lt")

    class Meta:
        model = Snapshot
        fields = ["machine", "vault", "state", "since", "until"]


class MachineViewSet(viewsets.ReadOnlyModelViewSet):
    """Machines of the tenant in force."""

    model = Machine
    queryset = Machine.objects.all()
    serializer_class = MachineSerializer
    permission_classes = [RolePermission]
    pagination_class = ByName
    filterset_class = MachineFilter

    def get_queryset(self) -> Any:
        """With each machine's newest snapshot."""
        return with_last_snapshot(super().get_queryset())


class SnapshotViewSet(viewsets.ReadOnlyModelViewSet):
    """Snapshots of the tenant in force, newest first."""

    model = Snapshot
    queryset = Snapshot.objects.defer("bitmap", "blocks", "recipients", "statement")
    serializer_class = SnapshotSerializer
    permission_classes = [RolePermission]
    pagination_class = NewestFirst
    filterset_class = SnapshotFilter
