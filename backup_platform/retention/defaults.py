"""How many days things take: as the tenant says, else as the platform says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings

from .models import RetentionRules


@dataclass(frozen=True, slots=True)
class Delays:
    """A tenant's answers, complete."""

    undelete: timedelta
    shrink: timedelta
    guard_percent: int
    release_needs_second: bool


def delays_of(tenant_id: UUID) -> Delays:
    """What holds for a tenant. Call it in the tenant's scope, or in none."""
    row = RetentionRules.objects.filter(tenant_id=tenant_id).first() or RetentionRules()
    return Delays(
        timedelta(days=row.undelete_days or settings.STRONGROOM_UNDELETE_DAYS),
        timedelta(days=row.shrink_days or settings.STRONGROOM_SHRINK_DAYS),
        row.guard_percent,
        row.release_needs_second,
    )
