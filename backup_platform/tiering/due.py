"""What is due: which packs a rule wants copied, which may leave the home directory. One question for lists and for one.

Packs to which the same rules apply make a *unit*: a tenant that has rules of its own, or all other tenants together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.targets.models import Target, TargetState
from backup_platform.tiering.models import CopyWhen, EvictWhen, TierRule
from backup_platform.tiering.rules import HomeFill, copies_needed, rules_of

SMALL_BYTES = 16 * 1024 * 1024
SMALL_WAIT = timedelta(hours=24)
"""Smaller packs are joined by compaction; copying them first would copy their bytes twice."""
SETTLED = (CopyState.GOOD, CopyState.DAMAGED, CopyState.LEAVING)
"""A damaged copy is healed and one that leaves is gone later; neither is written over."""
HOLDING = (TargetState.ACTIVE, TargetState.PAUSED)


@dataclass(frozen=True, slots=True)
class Unit:
    """Rules, and the packs that all of them apply to."""

    rules: tuple[TierRule, ...]
    tenant_id: UUID | None = None
    without: frozenset[UUID] = frozenset()

    def packs(self) -> QuerySet[Pack]:
        """Its packs that are sealed, checked, placed and needed."""
        placed = [PackPlace.TARGET, PackPlace.REMOTE]
        sound = Pack.objects.filter(state=PackState.VERIFIED, place__in=placed, deduplicated_at__isnull=False)
        sound = sound.filter(unlink_at__isnull=True)
        return sound.filter(tenant=self.tenant_id) if self.tenant_id else sound.exclude(tenant__in=self.without)

    @property
    def evicting(self) -> tuple[TierRule, ...]:
        """Those that let local copies go."""
        return tuple(rule for rule in self.rules if rule.evict_when != EvictWhen.NEVER)


def units(rules: Sequence[TierRule]) -> list[Unit]:
    """All rules at work as units."""
    shared = [rule for rule in rules if rule.tenant_id is None]
    owners = sorted({rule.tenant_id for rule in rules if rule.tenant_id})
    found = [Unit((*shared, *(rule for rule in rules if rule.tenant_id == owner)), owner) for owner in owners]
    return [*found, Unit(tuple(shared), without=frozenset(owners))] if shared else found


def unit_of(tenant_id: UUID) -> Unit:
    """The unit of one tenant's packs."""
    return Unit(tuple(rules_of(tenant_id)), tenant_id)


def lacking(unit: Unit, target: Target) -> QuerySet[Pack]:
    """The unit's packs that have no copy at a target, whether one is due or not."""
    packs = unit.packs()
    if target.tenant_id:
        packs = packs.filter(tenant=target.tenant_id)
    return packs.filter(~Exists(Copy.objects.filter(pack=OuterRef("pk"), target=target.pk, state__in=SETTLED)))


def due_to_copy(unit: Unit, rule: TierRule, now: datetime, fill: HomeFill) -> QuerySet[Pack]:
    """The unit's packs that a rule wants copied now, the oldest first."""
    packs = lacking(unit, rule.target)
    if rule.copy_when == CopyWhen.DAYS:
        packs = packs.filter(verified_at__lte=now - timedelta(days=rule.copy_days))
    if rule.copy_when == CopyWhen.WATERMARK:
        packs = packs.filter(place=PackPlace.TARGET) if fill.excess else packs.none()
    if not rule.at_once:
        packs = packs.filter(Q(bytes__gte=SMALL_BYTES) | Q(sealed_at__lte=now - SMALL_WAIT))
    return packs.order_by("pk")


def due_to_leave(unit: Unit, now: datetime, fill: HomeFill) -> QuerySet[Pack]:
    """The unit's packs whose local copy may go: a rule says so, and enough copies are *good*."""
    wishes = Q(pk__in=[])
    for rule in unit.evicting:
        if rule.evict_when == EvictWhen.DAYS:
            wishes |= Q(verified_at__lte=now - timedelta(days=rule.evict_days))
        elif fill.excess:
            wishes |= Q(pk__gt=0)
    good = Q(copies__state=CopyState.GOOD, copies__target__state__in=HOLDING)
    here = unit.packs().filter(wishes, place=PackPlace.TARGET)
    counted = here.annotate(held_elsewhere=Count("copies", filter=good, distinct=True))
    return counted.filter(held_elsewhere__gte=copies_needed(unit.evicting)).order_by("verified_at", "pk")


def targets_due(pack: Pack, now: datetime, fill: HomeFill) -> list[Target]:
    """The targets that a pack should be copied to now; those with an attempt of unknown outcome among them."""
    unit = unit_of(pack.tenant_id)
    due = [rule.target for rule in unit.rules if due_to_copy(unit, rule, now, fill).filter(pk=pack.pk).exists()]
    unknown = Copy.objects.filter(pack=pack, state=CopyState.WRITING, target__state=TargetState.ACTIVE)
    targets = {target.pk: target for target in due}
    targets |= {copy.target_id: copy.target for copy in unknown.select_related("target")}
    return list(targets.values())
