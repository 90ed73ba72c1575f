"""Pausing reclaim, for a tenant or everywhere. Nothing is condemned, removed, unlinked or compacted meanwhile."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from backup_platform.audit.services import record
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.models import ReclaimPause


def pause_reclaim(tenant_id: UUID | None, *, by: str, reason: str = "") -> bool:
    """Pause reclaim (None: everywhere). False when it was paused already; the first reason stays."""
    with without_tenant_scope("a pause may be the platform's"), transaction.atomic():
        fields: dict[str, Any] = {"tenant_id": tenant_id}
        _, made = ReclaimPause.objects.get_or_create(**fields, defaults={"by": by[:200], "reason": reason[:300]})
        if made:
            record("reclaim.paused", actor=by, object="reclaim", tenant=tenant_id, reason=reason[:300])
    return made


def resume_reclaim(tenant_id: UUID | None, *, by: str) -> bool:
    """End the pause (None: the platform's own; a tenant's stays). False when there was none."""
    with without_tenant_scope("a pause may be the platform's"), transaction.atomic():
        mine = (
            ReclaimPause.objects.filter(tenant_id=tenant_id) if tenant_id else ReclaimPause.objects.filter(tenant=None)
        )
        ended = mine.delete()[0]
        if ended:
            record("reclaim.resumed", actor=by, object="reclaim", tenant=tenant_id)
    return bool(ended)
