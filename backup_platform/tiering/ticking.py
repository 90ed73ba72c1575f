"""The tick: asks for everything that the rows say is due. It may come late, twice or not at all.

Of a target that fails, one pack is asked for when its pause is over: if that goes well, the rest follows by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Copy, CopyState, Pack, Snapshot, SnapshotCopy, SnapshotState
from backup_platform.jobs.models import UNFINISHED, Job, JobKind
from backup_platform.storage.base import StoreError
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.queries import all_targets
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.asking import ask_pack, ask_target, ask_to_copy_snapshot, lately_failed, pack_subject
from backup_platform.tiering.completeness import note_complete
from backup_platform.tiering.due import Unit, due_to_copy, due_to_leave, units
from backup_platform.tiering.evicting import unlink_due
from backup_platform.tiering.lag import tell_lag, tell_unserved
from backup_platform.tiering.models import CopyWhen, EvictWhen, Leftover
from backup_platform.tiering.patience import in_trouble, waited_for
from backup_platform.tiering.rules import HomeFill, active_rules, home_fill

logger = logging.getLogger(__name__)

MOST_ASKED = 200
"""Packs asked for by one rule in one tick."""
MOST_WAITING, FEWEST_ASKED = 1_000, 10
"""With so many tier jobs on the list, no more than a few are asked for by each rule: the list is no store of plans, and
those of one slow bucket must not keep everybody else's off it."""


def tick(now: datetime | None = None) -> int:
    """Ask for what is due; for how much."""
    now = now or timezone.now()
    unlink_due(now)
    asked = 0
    with without_tenant_scope("tiering goes over every tenant's packs"):
        for target in all_targets():
            asked += _look_at(target, now)
        waiting = Job.objects.filter(kind=JobKind.TIER, state__in=UNFINISHED).count()
        try:
            asked += _ask_by_rules(now, home_fill(), MOST_ASKED if waiting < MOST_WAITING else FEWEST_ASKED)
        except (RecordUnavailable, StoreError) as fault:
            logger.info("Nothing is tiered while the home directory is away.", extra={"fault": str(fault)})
    return asked


def watch(now: datetime | None = None) -> None:
    """Every minute: which snapshots are whole at which target, and which targets are behind."""
    now = now or timezone.now()
    with without_tenant_scope("tiering goes over every tenant's packs"):
        for target in all_targets():
            if target.state == TargetState.ACTIVE and not target.home:
                note_complete(target)
        tell_lag(now)
        tell_unserved()


def _ask_by_rules(now: datetime, fill: HomeFill, at_most: int) -> int:
    failed, waiting, troubled = lately_failed(), waited_for(now), in_trouble()
    asked = 0
    for unit in units(active_rules()):
        for rule in unit.rules:
            if rule.target_id in waiting:
                continue
            most = 1 if rule.target_id in troubled else at_most
            due = due_to_copy(unit, rule, now, fill)[: most + len(failed)]
            by_fill = rule.copy_when == CopyWhen.WATERMARK
            asked += _ask(_until(due, fill.excess) if by_fill else due, failed, most, rule.target)
        asked += _ask(_leaving(unit, now, fill), failed, at_most)
    unknown = Copy.objects.filter(state=CopyState.WRITING, target__state=TargetState.ACTIVE)
    unknown = unknown.exclude(target__in=waiting).select_related("pack", "target").order_by("pk")[:at_most]
    return asked + sum(_ask([copy.pack], failed, 1, copy.target) for copy in unknown)


def _ask(packs: Iterable[Pack], failed: set[str], most: int, target: Target | None = None) -> int:
    asked = 0
    for pack in packs:
        if asked >= most:
            break
        if pack_subject(pack, target) not in failed:
            ask_pack(pack, target)
            asked += 1
    return asked


def _until(packs: Iterable[Pack], size: int) -> Iterable[Pack]:
    """The first packs that are so many bytes together."""
    for pack in packs:
        if size <= 0:
            return
        size -= pack.bytes
        yield pack


def _leaving(unit: Unit, now: datetime, fill: HomeFill) -> Iterable[Pack]:
    """Those whose time has come; where only the watermark wants it, as many as bring the home directory below it."""
    if not unit.evicting:
        return
    excess = fill.excess - _leftover_bytes()
    for pack in due_to_leave(unit, now, fill)[:MOST_ASKED]:
        if not _is_over(pack, unit, now):
            if excess <= 0:
                continue
            excess -= pack.bytes
        yield pack


def _is_over(pack: Pack, unit: Unit, now: datetime) -> bool:
    """Whether a rule's days are over for it, whatever the disk looks like."""
    days = [rule.evict_days for rule in unit.evicting if rule.evict_when == EvictWhen.DAYS]
    return bool(days) and pack.verified_at is not None and pack.verified_at <= now - timedelta(days=min(days))


def _leftover_bytes() -> int:
    """What will be free within the hour by itself."""
    return sum(Leftover.objects.values_list("pack__bytes", flat=True))


def _look_at(target: Target, now: datetime) -> int:
    """Drains, copies that leave, and snapshots whose objects are not there yet."""
    if target.home:
        return 0
    leaving = Copy.objects.filter(target=target.pk, state=CopyState.LEAVING, leaves_at__lte=now)
    patient = target.pk in waited_for(now)
    asked = 0
    if (target.state == TargetState.DRAINING or leaving.exists()) and not patient:
        ask_target(target)
        asked += 1
    if target.state == TargetState.ACTIVE and not patient:
        asked += _ask_snapshots(target)
    return asked


def _ask_snapshots(target: Target) -> int:
    """The safety net under the jobs of the commits: a target that is new, or was away, gets what it lacks."""
    there = SnapshotCopy.objects.filter(target=target.pk, objects_at__isnull=False).values("snapshot")
    most = 1 if target.pk in in_trouble() else MOST_ASKED
    lacking = _of(target).exclude(pk__in=there).exclude(state=SnapshotState.RECLAIMED)
    asked = 0
    for snapshot in lacking.only("pk", "tenant_id").order_by(F("received_at").asc())[:most]:
        ask_to_copy_snapshot(snapshot)
        asked += 1
    return asked


def _of(target: Target) -> QuerySet[Snapshot]:
    mine = Q(tenant=target.tenant_id) if target.tenant_id else Q()
    return Snapshot.objects.filter(mine)
