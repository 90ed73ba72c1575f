"""Targets that fail are left alone for a growing while; after a few failures in a row people hear of it.

One failure says little (a connection broke), so the target is called *away* only after the third; the first success
calls it back. Both are rows, so all workers know.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from backup_platform.targets.availability import is_slow
from backup_platform.targets.models import Target
from backup_platform.targets.services import note_away, note_back
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.errors import TargetSlow
from backup_platform.tiering.models import Patience

FIRST = timedelta(seconds=5)
LONGEST = timedelta(minutes=10)
AWAY_AFTER = 3
REST = (0.75, 1.25)
"""What was too slow rests for about as long as it was waited for. By chance, so that two that share a line, and took
it from each other, do not meet again."""
WHY = "a shared target belongs to no tenant"


def note_failure(target: Target, fault: object) -> None:
    """A call failed: nobody asks this target again for a while, twice as long each time.

    One that was too slow has had its time, and said enough: it is left alone for about as long, and people hear of it.
    """
    now = timezone.now()
    slow = isinstance(fault, TargetSlow)
    rest = timedelta(seconds=fault.held * random.uniform(*REST)) if isinstance(fault, TargetSlow) else FIRST
    with without_tenant_scope(WHY):
        row, made = Patience.objects.get_or_create(target=target, defaults={"failures": 1, "next_try_at": now + rest})
        if not made:
            pause = max(rest, min(FIRST * 2 ** min(row.failures, 10), LONGEST))
            changes = {"failures": F("failures") + 1, "next_try_at": now + pause}
            Patience.objects.filter(pk=target.pk).update(**changes)
            row.refresh_from_db()
    if slow or row.failures >= AWAY_AFTER:
        note_away(target, fault)


def note_success(target: Target, *, whole_pack: bool = True) -> None:
    """A call did what it should. That small things go well says nothing of a target that was too slow for a pack."""
    if not whole_pack and is_slow(target):
        return
    with without_tenant_scope(WHY):
        Patience.objects.filter(pk=target.pk).delete()
    note_back(target)


def waited_for(now: datetime | None = None) -> set[UUID]:
    """The targets that nobody should ask before their time."""
    with without_tenant_scope(WHY):
        later = Patience.objects.filter(next_try_at__gt=now or timezone.now())
        return set(later.values_list("target_id", flat=True))


def in_trouble() -> set[UUID]:
    """The targets whose last call failed, whether their time has come or not."""
    with without_tenant_scope(WHY):
        return set(Patience.objects.values_list("target_id", flat=True))
