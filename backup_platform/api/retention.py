"""Retention over HTTP: preview, let expire, bring back, legal holds."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied, Throttled, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backup_platform.api.views import NewestFirst, RolePermission
from backup_platform.catalog.models import Snapshot
from backup_platform.console.site import asking
from backup_platform.fleet.models import Machine
from backup_platform.policies.models import Policy
from backup_platform.policies.registry import check_settings
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.holds import release_hold, set_hold
from backup_platform.retention.holds_extending import extend_hold
from backup_platform.retention.models import Hold, HoldScope
from backup_platform.retention.one_preview import PreviewBusy, one_preview
from backup_platform.retention.previewing import preview_now, preview_policy
from backup_platform.retention.services import bring_back, expire_by_hand, snapshot_of
from backup_platform.retention.telling import preview_as_data
from backup_platform.tenants.access import can

NAMED = [
    OpenApiParameter("policy", str, description="A policy's id. Without it: every rule in force."),
    OpenApiParameter("machine", str, description="A machine's id. Without it: all machines."),
]


class PreviewSerializer(serializers.Serializer):
    """What would go, why, and what that would free."""

    at = serializers.DateTimeField()
    expiring = serializers.IntegerField(help_text="Snapshots that would go.")
    newly_expiring = serializers.IntegerField(help_text="Of these, those that the rules in force would keep.")
    keeping = serializers.IntegerField()
    bytes_freed = serializers.IntegerField(help_text="As stored, once they are gone for good.")
    records_freed = serializers.IntegerField()
    unsettled = serializers.IntegerField(help_text="New snapshots whose needs are not known yet: less may be freed.")
    machines_left_out = serializers.IntegerField()
    takes_effect_at = serializers.DateTimeField(allow_null=True, help_text="If these rules were saved now.")
    stopped_machines = serializers.ListField(child=serializers.CharField())
    truncated = serializers.BooleanField()
    snapshots = serializers.ListField(child=serializers.DictField())


class TriedSerializer(serializers.Serializer):
    """Settings to try, instead of a policy's own `retention.*`."""

    policy = serializers.UUIDField()
    machine = serializers.UUIDField(required=False)
    settings = serializers.DictField()


class RetentionPreviewView(APIView):
    """What the rules in force, a policy's own, or others that nobody has saved would drop. Changes nothing."""

    @extend_schema(parameters=NAMED, responses=PreviewSerializer)
    def get(self, request: Request) -> Response:
        """By the rules in force, or by a policy's settings with their delay over."""
        policy = _row(request, Policy, request.query_params.get("policy"))
        return _preview(request, policy, policy.settings if policy else {}, request.query_params.get("machine"))

    @extend_schema(request=TriedSerializer, responses=PreviewSerializer)
    def post(self, request: Request) -> Response:
        """By settings that take the place of the policy's `retention.*`."""
        asked = TriedSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        policy = _row(request, Policy, asked.validated_data["policy"])
        tried = asked.validated_data["settings"]
        strange = [name for name in tried if not str(name).startswith("retention.")]
        if strange:
            raise ValidationError({"settings": f"Only retention.* settings are tried here, not {strange[0]}."})
        checked = check_settings(tried)
        if checked.faults:
            raise ValidationError({fault.name or "settings": fault.sentence for fault in checked.faults})
        own = {name: value for name, value in policy.settings.items() if not name.startswith("retention.")}
        return _preview(request, policy, {**own, **checked.values}, asked.validated_data.get("machine"))


RETRY_SECONDS = 5


def _preview(request: Request, policy: Any, settings: dict[str, Any], wanted: Any) -> Response:
    actor = asking(request)
    if not (can(actor, "snapshots.view") and can(actor, "policies.view")):
        raise PermissionDenied
    machine = _row(request, Machine, wanted)
    machines = [machine] if machine else None
    named = policy or machine
    tenant_id = named.tenant_id if named else actor.tenant.pk if actor.tenant else None
    if tenant_id is None:
        raise ValidationError({"machine": "Name a machine or a policy: you see several tenants."})
    try:
        with one_preview(tenant_id):
            found = preview_policy(policy, settings, machines) if policy else preview_now(tenant_id, machines)
    except PreviewBusy as busy:
        raise Throttled(wait=RETRY_SECONDS, detail=str(busy)) from None
    return Response(preview_as_data(found))


def _row(request: Request, model: Any, wanted: Any) -> Any:
    """The row with this id within the request's scope; None without an id. What one may not see looks like missing."""
    if not wanted:
        return None
    try:
        found = model.objects.filter(pk=UUID(str(wanted))).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404
    return found


class ReasonSerializer(serializers.Serializer):
    """Why."""

    reason = serializers.CharField(max_length=280)


class StateSerializer(serializers.Serializer):
    """What a snapshot is now."""

    state = serializers.CharField()


class SnapshotExpiryView(APIView):
    """Let one snapshot expire. It can be brought back for some days."""

    @extend_schema(request=ReasonSerializer, responses=StateSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """Needs the right `snapshots.manage`."""
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        snapshot = _snapshot(pk)
        _refusable(lambda: expire_by_hand(snapshot, by=asking(request), reason=asked.validated_data["reason"]))
        return Response({"state": "expired"})


class SnapshotReturnView(APIView):
    """Bring one expired snapshot back."""

    @extend_schema(request=None, responses=StateSerializer)
    def post(self, request: Request, pk: UUID) -> Response:
        """Needs the right `snapshots.manage`."""
        snapshot = _snapshot(pk)
        return Response({"state": _refusable(lambda: bring_back(snapshot, by=asking(request)))})


def _snapshot(pk: UUID) -> Snapshot:
    found = snapshot_of(pk)
    if found is None:
        raise Http404
    return found


def _refusable(act: Any) -> Any:
    """What an act answers; what it refuses is told as a fault of the request."""
    try:
        return act()
    except RetentionRefused as refused:
        raise ValidationError({"detail": str(refused)}) from None


class HoldSerializer(serializers.ModelSerializer):
    """A legal hold."""

    scope = serializers.ChoiceField(choices=HoldScope.choices)

    class Meta:
        model = Hold
        fields = ["id", "tenant", "case", "reason", "scope", "machine", "policy", "snapshot", "about", "received_from",
                  "received_until", "until", "needs_second", "set_by", "set_at", "asked_by", "asked_at", "released_by",
                  "released_at", "released_because"]  # fmt: skip
        read_only_fields = ["tenant", "about", "needs_second", "set_by", "set_at", "asked_by", "asked_at",
                            "released_by", "released_at", "released_because"]  # fmt: skip


class NewEndSerializer(serializers.Serializer):
    """A later end, or none."""

    until = serializers.DateTimeField(allow_null=True, help_text="null: until it is released.")


class HoldsNewestFirst(NewestFirst):
    """Pages of holds."""

    ordering = ("-set_at", "id")


class HoldViewSet(mixins.CreateModelMixin, viewsets.ReadOnlyModelViewSet):
    """Legal holds of the tenant in force. Setting and releasing need the right `holds.manage`."""

    model = Hold
    queryset = Hold.objects.all()
    serializer_class = HoldSerializer
    permission_classes = [RolePermission]
    pagination_class = HoldsNewestFirst

    def perform_create(self, serializer: Any) -> None:
        """By the service."""
        given = serializer.validated_data
        about = given.get(given["scope"])
        actor = asking(self.request)
        tenant = actor.tenant or getattr(about, "tenant", None)
        if tenant is None:
            raise ValidationError({"scope": "Choose a tenant first: you see several."})
        times = {name: given.get(name) for name in ("received_from", "received_until", "until")}
        serializer.instance = _refusable(
            lambda: set_hold(
                tenant, given["case"], given["reason"], by=actor, scope=given["scope"], about=about, **times
            )
        )

    @extend_schema(request=ReasonSerializer, responses=HoldSerializer)
    @action(detail=True, methods=["post"], pagination_class=None)
    def release(self, request: Request, pk: str | None = None) -> Response:
        """Release it, or ask for it where two persons must agree: then `released_at` stays empty."""
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        hold = self.get_object()
        done = _refusable(lambda: release_hold(hold, by=asking(request), because=asked.validated_data["reason"]))
        hold.refresh_from_db()
        return Response(HoldSerializer(hold).data, status=status.HTTP_200_OK if done else status.HTTP_202_ACCEPTED)

    @extend_schema(request=NewEndSerializer, responses={201: HoldSerializer})
    @action(detail=True, methods=["post"], pagination_class=None)
    def extend(self, request: Request, pk: str | None = None) -> Response:
        """Let it end later, or not by itself: answered by the hold that follows this one, the same but for its end."""
        asked = NewEndSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        hold, until = self.get_object(), asked.validated_data["until"]
        following = _refusable(lambda: extend_hold(hold, until, by=asking(request)))
        return Response(HoldSerializer(following).data, status=status.HTTP_201_CREATED)
