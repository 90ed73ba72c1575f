"""Pausing reclaim, for a tenant or everywhere. Nothing is condemned, removed, unlinked or compacted meanwhile."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction

from backup_platform.audit.services import record
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.errors import ReclaimRefused
from backup_platform.upkeep.models import ReclaimPause

MAX_REASON = 300


def pause_for_a_reason(tenant_id: UUID | None, *, by: str, reason: str, staff: bool) -> bool:
    """`pause_reclaim` for people at a page. ReclaimRefused without a reason: others have to know why."""
    if not reason.strip():
        raise ReclaimRefused("Say why reclaim is paused: whoever finds it paused has to know whether it may go on.")
    return pause_reclaim(tenant_id, by=by, reason=reason.strip(), staff=staff)


def pause_reclaim(tenant_id: UUID | None, *, by: str, reason: str = "", staff: bool = True) -> bool:
    """Pause reclaim (None: everywhere). False when it was paused already; the first reason stays.

    `staff`: the platform's own people do, or its commands; a member of the tenant cannot end such a pause.
    """
    with without_tenant_scope("a pause may be the platform's"), transaction.atomic():
        fields: dict[str, Any] = {"tenant_id": tenant_id}
        said = {"by": by[:200], "reason": reason[:MAX_REASON], "by_staff": staff or tenant_id is None}
        pause, made = ReclaimPause.objects.get_or_create(**fields, defaults=said)
        if made:
            record("reclaim.paused", actor=by, object="reclaim", tenant=tenant_id, reason=reason[:MAX_REASON])
        elif staff and not pause.by_staff:
            ReclaimPause.objects.filter(pk=pause.pk).update(**said)
            record("reclaim.paused", actor=by, object="reclaim", tenant=tenant_id, reason=reason[:MAX_REASON])
    return made


def resume_reclaim(tenant_id: UUID | None, *, by: str, staff: bool = True) -> bool:
    """End the pause (None: the platform's own; a tenant's stays). False when there was none.

    Raises ReclaimRefused for a member who would end a pause of the platform's people.
    """
    with without_tenant_scope("a pause may be the platform's"), transaction.atomic():
        pauses = ReclaimPause.objects.select_for_update(of=("self",))
        mine = pauses.filter(tenant_id=tenant_id) if tenant_id else pauses.filter(tenant=None)
        found = mine.first()
        if found is None:
            return False
        if found.by_staff and not staff:
            raise ReclaimRefused("The platform's staff has paused reclaim here, so only they resume it: ask them.")
        found.delete()
        record("reclaim.resumed", actor=by, object="reclaim", tenant=tenant_id)
    return True
