"""How many days things take: as the platform says, or longer where the tenant says so.

Nobody in a tenant can shorten them: whoever took over an administrator's account would begin with that.
"""

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
        timedelta(days=max(row.undelete_days or 0, settings.STRONGROOM_UNDELETE_DAYS)),
        timedelta(days=max(row.shrink_days or 0, settings.STRONGROOM_SHRINK_DAYS)),
        row.guard_percent,
        row.release_needs_second,
    )
