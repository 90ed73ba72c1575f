"""How far each target is behind its rules, what lies there, and what that costs; an alert when it is too far behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from backup_platform.catalog.models import Copy, CopyState
from backup_platform.jobs.liveness import is_tier_served
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.due import SMALL_WAIT, Unit, lacking, unit_of, units
from backup_platform.tiering.models import CopyWhen, TierRule
from backup_platform.tiering.rules import active_rules

GIGABYTE = 10**9
BEHIND = timedelta(hours=24)
"""A pack that has been due for longer than this is an alert."""
UNSERVED = "queue:tier"
WHY = "a shared target and the platform's rules belong to no tenant"


@dataclass(frozen=True, slots=True)
class Lag:
    """What a target lacks: packs, bytes, and since when the oldest of them could have been there."""

    packs: int
    bytes: int
    oldest: datetime | None

    def seconds(self, now: datetime | None = None) -> float:
        """How far behind it is: 0 when nothing is lacking."""
        return max(((now or timezone.now()) - self.oldest).total_seconds(), 0.0) if self.oldest else 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What lies at a target, as far as it was asked for (one tenant, or all)."""

    copies: int
    bytes: int
    damaged: int
    cost: Decimal | None
    """A month, in the target's currency; None where it has no price."""


def lag_of_rule(rule: TierRule) -> Lag:
    """How far a rule's target is behind, for the packs that the rule is about."""
    with without_tenant_scope(WHY):
        if rule.tenant_id:
            return _lag(unit_of(rule.tenant_id), rule)
        found = [_lag(unit, rule) for unit in units(active_rules()) if rule in unit.rules]
    oldest = [lag.oldest for lag in found if lag.oldest]
    return Lag(sum(lag.packs for lag in found), sum(lag.bytes for lag in found), min(oldest, default=None))


def lag_for_tenant(tenant_id: UUID) -> dict[UUID, Lag]:
    """By target, how far behind it is for one tenant's packs."""
    with without_tenant_scope(WHY):
        unit = unit_of(tenant_id)
        return {rule.target_id: _lag(unit, rule) for rule in unit.rules}


def _lag(unit: Unit, rule: TierRule) -> Lag:
    if rule.copy_when == CopyWhen.WATERMARK:
        return Lag(0, 0, None)  # by such a rule nothing is late: it waits for the disk to fill
    wait = timedelta(days=rule.copy_days if rule.copy_when == CopyWhen.DAYS else 0)
    packs = lacking(unit, rule.target).filter(verified_at__lte=timezone.now() - wait)
    found = packs.aggregate(packs=Count("pk"), bytes=Sum("bytes"), oldest=Min("verified_at"))
    oldest = found["oldest"] + wait if found["oldest"] else None
    return Lag(found["packs"], found["bytes"] or 0, oldest)


def figures(target: Target, tenant_id: UUID | None = None) -> Figures:
    """What lies at a target: of one tenant, or of all."""
    with without_tenant_scope(WHY):
        copies = Copy.objects.filter(target=target.pk)
        copies = copies.filter(tenant=tenant_id) if tenant_id else copies
        there = Q(state__in=[CopyState.GOOD, CopyState.LEAVING, CopyState.DAMAGED])
        found = copies.aggregate(
            copies=Count("pk", filter=there),
            bytes=Sum("bytes", filter=there),
            parity=Sum("parity_bytes", filter=there),
            damaged=Count("pk", filter=Q(state=CopyState.DAMAGED)),
        )
    size = (found["bytes"] or 0) + (found["parity"] or 0)
    cost = target.price * size / GIGABYTE if target.price is not None else None
    return Figures(found["copies"], size, found["damaged"], cost)


def tell_unserved() -> None:
    """Raise or resolve the alert that no worker is at work on the queue `tier`."""
    if is_tier_served():
        resolve_alert(None, UNSERVED, "A worker of the queue tier is at work again.")
        return
    raise_alert(
        None, AlertKind.COPIES, UNSERVED, Level.ERROR,
        "No worker of the queue tier has been at work for five minutes: copies, scrubbing, expiry and reclaim wait.",
        "Start it; docs/operations/install.md has its command. Backups, verifying and restores go on meanwhile.",
        dedupe_key=UNSERVED,
    )  # fmt: skip


def tell_lag(now: datetime) -> None:
    """Raise or resolve the alert of every rule whose target is behind for too long."""
    for rule in active_rules():
        key = f"tier-lag:{rule.pk}"
        late = lag_of_rule(rule)
        limit = BEHIND if rule.at_once else BEHIND + SMALL_WAIT
        if late.seconds(now) <= limit.total_seconds():
            resolve_alert(rule.tenant_id, key, f"{rule.target.name} has caught up.")
            continue
        raise_alert(
            rule.tenant_id, AlertKind.COPIES, f"target:{rule.target_id}", Level.WARNING,
            f"{rule.target.name} is behind: {late.packs:,} packs wait for their copy, the oldest since "
            f"{late.oldest:%Y-%m-%d %H:%M} UTC.",
            "Look whether the target answers and how fast the line is. Until then these packs are in fewer places.",
            dedupe_key=key,
        )  # fmt: skip
