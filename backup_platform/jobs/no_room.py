"""Backups that wait because their tenant's quota is used up: their rows say so, and stop saying so when there is room.

They are not offered meanwhile (offering.py), so no attempt is used up by waiting.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from backup_platform.jobs.causes import NO_CAUSE, NO_ROOM, Cause
from backup_platform.jobs.models import Job, JobKind, JobOrigin, JobState
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tenants.stored import stored_under_quotas

MOST_AT_ONCE = 500
"""Rows written in one transaction; the next sweep is seconds away."""


def tell_who_waits_for_room() -> int:
    """Bring the causes of waiting backups in line with the quotas; how many rows were changed. Repeatable."""
    with without_tenant_scope("the sweep looks after every tenant's jobs"):
        full = [one.tenant_id for one in stored_under_quotas() if one.full]
        waiting = Job.objects.filter(state=JobState.QUEUED, kind=JobKind.BACKUP, machine__isnull=False)
        waiting = waiting.exclude(origin=JobOrigin.MACHINE)
        told = waiting.filter(last_error=NO_ROOM.message)
        new = waiting.filter(tenant_id__in=full, last_error="") if full else waiting.none()
        return _say(new, NO_ROOM) + _say(told.exclude(tenant_id__in=full), NO_CAUSE)


def _say(jobs: QuerySet[Job], cause: Cause) -> int:
    """Write a cause into rows that nobody else holds."""
    with transaction.atomic():
        free = jobs.order_by("pk").select_for_update(of=("self",), skip_locked=True)
        ids: list[UUID] = list(free.values_list("pk", flat=True)[:MOST_AT_ONCE])
        if not ids:
            return 0
        return Job.objects.filter(pk__in=ids).update(last_error=cause.message, advice=cause.advice)
