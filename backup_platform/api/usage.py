"""What a tenant uses of its quotas, to read."""

from __future__ import annotations

from dataclasses import asdict

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from backup_platform.api.views import RolePermission
from backup_platform.console.site import actor_of
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.quotas import usage_of


class UsageSerializer(serializers.Serializer):
    """What is used, and how much may be."""

    stored_bytes = serializers.IntegerField(help_text="Sealed packs, each once, however many copies there are.")
    quota_bytes = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")
    full = serializers.BooleanField(help_text="Whether new backups are refused.")
    machines = serializers.IntegerField(help_text="Enrolled, with those that wait for approval.")
    quota_machines = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")


class UsageView(APIView):
    """What the tenant uses of its quotas, which the platform's operator sets."""

    model = Tenant
    permission_classes = [RolePermission]

    @extend_schema(responses=UsageSerializer)
    def get(self, request: Request) -> Response:
        """Figures of the tenant in force; where all tenants are shown, choose one first. Members that are limited to
        machine groups do not see the whole tenant's."""
        actor = actor_of(request)
        if actor is None or actor.tenant is None or actor.is_limited:
            raise Http404
        usage = usage_of(actor.tenant)
        return Response(UsageSerializer({**asdict(usage), "full": usage.full}).data)
