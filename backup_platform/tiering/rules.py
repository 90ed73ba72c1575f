"""Which rules apply to whom, and whether the home directory is over its watermark."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet, Sum

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack, PackPlace
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.services import home_target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.models import TierRule

PLATFORM = "rules and targets of the platform apply to every tenant"


def active_rules() -> list[TierRule]:
    """Every rule that is at work, with its target."""
    with without_tenant_scope(PLATFORM):
        return list(_at_work().order_by("pk"))


def rules_of(tenant_id: UUID) -> list[TierRule]:
    """The rules at work for a tenant's packs: its own and the platform's, with their targets."""
    with without_tenant_scope(PLATFORM):
        return list(_at_work().filter(Q(tenant=tenant_id) | Q(tenant__isnull=True)).order_by("pk"))


def _at_work() -> QuerySet[TierRule]:
    rules = TierRule.objects.select_related("target").filter(paused_at__isnull=True)
    return rules.filter(target__state=TargetState.ACTIVE, target__home=False)


def may_hold(target: Target, tenant_id: UUID) -> bool:
    """Whether a tenant's packs may lie at a target: at its own, or at a shared one."""
    return target.tenant_id in (None, tenant_id)


def copies_needed(rules: Sequence[TierRule]) -> int:
    """How many good copies these rules want before a local file may go; never none."""
    return max((rule.min_copies for rule in rules), default=1) or 1


@dataclass(frozen=True, slots=True)
class HomeFill:
    """How full the home directory is, and how many bytes lie over its watermark."""

    used: int
    capacity: int
    percent: int

    @property
    def excess(self) -> int:
        """Bytes that are over the watermark; 0 below it."""
        return max(self.used - self.capacity * self.percent // 100, 0)


def home_fill() -> HomeFill:
    """By the target's own capacity if it has one, else by the disk under it. RecordUnavailable when that is away."""
    home = home_target()
    with without_tenant_scope("the home directory is everybody's"):
        if home.capacity_bytes:
            used = Pack.objects.filter(place=PackPlace.TARGET).aggregate(bytes=Sum("bytes"))["bytes"] or 0
            return HomeFill(int(used), home.capacity_bytes, home.watermark_percent)
    try:
        disk = shutil.disk_usage(stores.home() / "store")
    except OSError as fault:
        raise RecordUnavailable("The home directory cannot be measured just now.") from fault
    return HomeFill(disk.used, disk.used + disk.free, home.watermark_percent)
