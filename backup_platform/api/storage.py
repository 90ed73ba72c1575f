"""Where a tenant's packs are, to read: what is here, what lies at each target, how far each is behind."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backup_platform.api.views import RolePermission
from backup_platform.console.site import actor_of
from backup_platform.tiering.models import TierRule
from backup_platform.tiering.queries import degraded, storage_of


class AtTargetSerializer(serializers.Serializer):
    """What lies at a target, and what should."""

    target = serializers.UUIDField()
    name = serializers.CharField()
    state = serializers.CharField()
    away_since = serializers.CharField(allow_null=True, help_text="Since when it has not answered; null: it does.")
    copies = serializers.IntegerField(help_text="Packs.")
    bytes = serializers.IntegerField()
    damaged = serializers.IntegerField(help_text="Copies that are not what they should be.")
    cost = serializers.CharField(allow_null=True, help_text="A month; null where the target has no price.")
    currency = serializers.CharField()
    lacking_packs = serializers.IntegerField(help_text="Packs whose copy is due or will be.")
    lacking_bytes = serializers.IntegerField()
    lag_seconds = serializers.FloatField(help_text="Since when the oldest of them could have been there.")


class StorageSerializer(serializers.Serializer):
    """Where the packs are."""

    packs = serializers.IntegerField()
    bytes = serializers.IntegerField()
    here_packs = serializers.IntegerField(help_text="On this platform's own disk.")
    here_bytes = serializers.IntegerField()
    remote_packs = serializers.IntegerField(help_text="At targets only.")
    single_bytes = serializers.IntegerField(help_text="Bytes that are in one place only.")
    waiting_jobs = serializers.IntegerField()
    targets = AtTargetSerializer(many=True)
    faults = serializers.ListField(child=serializers.CharField(), help_text="What does not work, a sentence each.")


class StorageView(APIView):
    """Where the tenant's packs are."""

    model = TierRule
    permission_classes = [RolePermission]

    @extend_schema(responses=StorageSerializer)
    def get(self, request: Request) -> Response:
        """Figures of the tenant in force; where all tenants are shown, choose one first."""
        actor = actor_of(request)
        if actor is None or actor.tenant is None:
            raise Http404
        found: dict[str, Any] = {**storage_of(actor.tenant.pk).as_json(), "faults": degraded(actor.tenant.pk)}
        return Response(StorageSerializer(found).data)
