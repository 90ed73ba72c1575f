"""What a policy would come to on machines if its settings were others: for previews, nothing is written."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from backup_platform.fleet.models import Machine
from backup_platform.tenants.scope import without_tenant_scope

from .effective import WHY, Application, _applications, _Layers
from .models import Policy


def supposed(policy: Policy, settings: Mapping[str, Any], machines: Sequence[UUID]) -> Iterator[Application]:
    """The policy with these settings of its own on machines of its tenant, assignments as they are; three queries."""
    other = copy.copy(policy)
    other.settings = dict(settings)
    with without_tenant_scope(WHY):
        boxes = Machine.objects.filter(tenant_id=policy.tenant_id, pk__in=machines)
        light = list(boxes.only("pk", "tenant_id", "name", "state", "zone", "paused_at").order_by("name"))
    yield from _applications([other], light, _Layers(policy.tenant_id, [policy.pk]))
