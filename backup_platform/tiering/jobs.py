"""Tiering's work as jobs: `tier pack:<id>`, `tier snapshot:<id>`, `tier target:<id>`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import pack_lease, renew_lease
from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.jobs.models import Job
from backup_platform.jobs.renewing import paced_renewal
from backup_platform.jobs.running import StillWaiting
from backup_platform.jobs.services import renew
from backup_platform.storage.base import StoreError
from backup_platform.storage.pace import at_least, kept_alive
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.queries import target_by_id
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.completeness import note_complete
from backup_platform.tiering.copying import LONG_TURN, copy_to
from backup_platform.tiering.draining import drain, remove_leaving
from backup_platform.tiering.due import due_to_leave, targets_due, unit_of
from backup_platform.tiering.errors import SourceDamaged, TargetTrouble
from backup_platform.tiering.evicting import evict
from backup_platform.tiering.patience import note_failure, note_success, waited_for
from backup_platform.tiering.rules import copies_needed, home_fill
from backup_platform.tiering.snapshot_objects import copy_objects, targets_for_objects

WORK_SECONDS = 480
"""A drain gives its turn up after this."""
BEAT_SECONDS = 5
OBJECTS_BYTES = 16 * 1024 * 1024
"""What the objects of a snapshot come to at most: a root of 8 MiB, a list of blocks, records."""


def tier_pack(job: Job) -> dict[str, Any]:
    """Copy a pack to the target that is named, or to each, where that is due; then let the local file go if it may."""
    pack_id, _, target_id = job.subject.partition(":")[2].partition("@")
    try:
        with pack_lease(int(pack_id)) as pack:
            return _tier(pack, target_id, _Beats(job, pack))
    except Pack.DoesNotExist:
        return {}
    except RecordUnavailable as fault:
        raise StillWaiting(str(fault)) from fault


def _tier(pack: Pack, target_id: str, beats: _Beats) -> dict[str, Any]:
    now, fill, waiting = timezone.now(), home_fill(), waited_for()
    done: dict[str, list[str]] = {"copied": [], "refused": [], "away": []}
    for target in targets_due(pack, now, fill):
        if target_id not in ("", str(target.pk)):
            continue
        if target.pk in waiting:
            done["away"].append(target.name)
        else:
            done[_copy(pack, target, beats)].append(target.name)
    unit = unit_of(pack.tenant_id)
    in_time = timezone.now() - now < LONG_TURN  # else a later tick asks for it
    leaves = in_time and due_to_leave(unit, now, fill).filter(pk=pack.pk).exists()
    evicted = leaves and evict(pack, copies_needed(unit.evicting), beats.of("reading back"))
    return {**{name: targets for name, targets in done.items() if targets}, "evicted": evicted}


def _copy(pack: Pack, target: Target, beats: _Beats) -> str:
    try:
        good = copy_to(pack, target, beats.of(target.name))
    except TargetTrouble as fault:
        note_failure(target, fault)
        return "away"
    except SourceDamaged as fault:
        raise RuntimeError(str(fault)) from fault  # the job fails and says so; scrub looks at the pack
    note_success(target)
    return "copied" if good else "refused"


def tier_snapshot(job: Job) -> dict[str, Any]:
    """Copy a snapshot's objects to every active target."""
    wanted = Snapshot.objects.select_related("vault", "machine").defer("bitmap", "blocks")
    snapshot = wanted.filter(pk=UUID(job.subject.partition(":")[2])).first()
    if snapshot is None:
        return {}
    waiting, done = waited_for(), {"copied": 0, "away": 0, "refused": 0}
    for target in targets_for_objects(snapshot.tenant_id):
        done["away" if target.pk in waiting else _copy_objects(snapshot, target, job)] += 1
        renew(job)
    return done


def _copy_objects(snapshot: Snapshot, target: Target, job: Job) -> str:
    beat = paced_renewal(job)
    try:
        with at_least(OBJECTS_BYTES, lambda _: beat()):
            good = copy_objects(snapshot, target)
    except TargetTrouble as fault:
        note_failure(target, fault)
        return "away"
    except RecordUnavailable as fault:
        raise StillWaiting(str(fault)) from fault
    note_success(target, whole_pack=False)
    return "copied" if good else "refused"


def work_on_target(job: Job) -> dict[str, Any]:
    """Go on with a drain, delete what leaves, and note which snapshots are whole there."""
    try:
        target = target_by_id(UUID(job.subject.partition(":")[2]))
    except Target.DoesNotExist:
        return {}
    until = time.monotonic() + WORK_SECONDS
    try:
        if target.state != TargetState.DRAINING:
            return {"removed": remove_leaving(target), "snapshots": note_complete(target)}
        with kept_alive(_renewal(job)):
            left = drain(target, lambda: renew(job) and time.monotonic() < until)
        return {"staying": left.staying, "leaving": left.leaving}
    except TargetTrouble as fault:
        note_failure(target, fault)
        return {"away": str(fault)}
    except (RecordUnavailable, StoreError) as fault:
        raise StillWaiting(str(fault)) from fault


def _renewal(job: Job) -> Callable[[], bool]:
    """Renews a claim, at its own pace, from inside the scope of whichever tenant's pack is at hand."""
    beat = paced_renewal(job)

    def keep() -> bool:
        with without_tenant_scope("the job of a shared target belongs to no tenant"):
            return beat()

    return keep


class _Beats:
    """Renews the job's claim and the pack's lease while bytes flow, at most every few seconds, from one thread only."""

    def __init__(self, job: Job, pack: Pack) -> None:
        self._job, self._pack = job, pack
        self._last = time.monotonic()
        self._thread = threading.get_ident()

    def of(self, phase: str) -> Callable[[int], None]:
        """What a copy calls with the bytes that it has read so far."""

        def beat(done: int) -> None:
            now = time.monotonic()
            if now - self._last < BEAT_SECONDS or threading.get_ident() != self._thread:
                return
            self._last = now
            renew(self._job, {"phase": phase, "bytes_done": done, "bytes_total": self._pack.bytes})
            renew_lease(self._pack)

        return beat
