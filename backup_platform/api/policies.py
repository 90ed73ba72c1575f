"""Policies and their next runs, to read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from backup_platform.api.views import ByName, RolePermission
from backup_platform.console.site import actor_of
from backup_platform.fleet.models import Machine
from backup_platform.policies.models import Policy
from backup_platform.policies.previews import MOST, preview
from backup_platform.tenants.access import may

USUAL = 5


class PolicySerializer(serializers.ModelSerializer):
    """A policy as it was written; what is absent from its settings is default."""

    class Meta:
        model = Policy
        fields = ["id", "name", "tenant", "description", "settings", "version", "paused_at", "created_at",
                  "changed_at"]  # fmt: skip


class UpcomingSerializer(serializers.Serializer):
    """One run to come."""

    at = serializers.DateTimeField(help_text="UTC.")
    local = serializers.CharField(help_text="The same moment on the clock of the schedule's zone, ISO 8601.")
    shifts = serializers.ListField(child=serializers.CharField(), help_text="What moved it, as words of the API.")
    because = serializers.CharField(help_text="The same as a sentence; empty if nothing did.")


class NextRunsSerializer(serializers.Serializer):
    """What is to come, or why nothing is."""

    zone = serializers.CharField()
    runs = UpcomingSerializer(many=True)
    silence = serializers.CharField(help_text="Why there are no runs; empty if there are some.")


class PolicyViewSet(viewsets.ReadOnlyModelViewSet):
    """Policies of the tenant in force."""

    model = Policy
    queryset = Policy.objects.all()
    serializer_class = PolicySerializer
    permission_classes = [RolePermission]
    pagination_class = ByName

    @extend_schema(
        parameters=[
            OpenApiParameter("machine", str, required=True, description="A machine's id."),
            OpenApiParameter("count", int, description=f"How many runs; 1 to {MOST}, {USUAL} if absent."),
        ],
        responses=NextRunsSerializer,
    )
    @action(detail=True, url_path="next-runs", pagination_class=None)
    def next_runs(self, request: Request, pk: str | None = None) -> Response:
        """The next runs of the policy on one machine, with the reason for each odd time."""
        found = preview(self.get_object(), _machine(request), _count(request))
        runs = [
            {"at": run.at, "local": run.local.isoformat(), "shifts": run.shifts, "because": run.because}
            for run in found.runs
        ]
        return Response(NextRunsSerializer({"zone": found.zone, "runs": runs, "silence": found.silence}).data)


def _machine(request: Request) -> Machine:
    """The machine asked for. What the person may not see looks like missing."""
    try:
        wanted = UUID(request.query_params.get("machine", ""))
    except ValueError:
        raise ValidationError({"machine": "Name a machine by its id: ?machine=ID."}) from None
    machine: Machine | None = Machine.objects.filter(pk=wanted).first()
    if machine is None or not may(actor_of(request), "view", "fleet.Machine"):
        raise Http404
    return machine


def _count(request: Request) -> int:
    written: Any = request.query_params.get("count", USUAL)
    count = int(written) if str(written).isascii() and str(written).isdigit() else 0
    if not 1 <= count <= MOST:
        raise ValidationError({"count": f"Ask for 1 to {MOST} runs."})
    return count
