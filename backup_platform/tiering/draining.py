"""Draining a target: everything that lies there only is copied elsewhere first, then its copies leave.

Each step is one pack under its lease, so a drain may break off anywhere. A copy that leaves does not count any more at
once, and its object goes an hour later, if the pack is still held elsewhere then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import lock_held, pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace
from backup_platform.catalog.pack_files import good_copies
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage.base import StoreError
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.same_place import is_home_store, same_place
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering.copying import copy_to, open_target
from backup_platform.tiering.due import HOLDING, targets_due
from backup_platform.tiering.errors import SourceDamaged, TargetTrouble
from backup_platform.tiering.evicting import confirm
from backup_platform.tiering.forgetting import delete, forget_objects
from backup_platform.tiering.patience import note_failure
from backup_platform.tiering.reading_back import read_back
from backup_platform.tiering.recalling import bring_home, thaw_if_cold
from backup_platform.tiering.rules import home_fill

logger = logging.getLogger(__name__)

GRACE = timedelta(hours=1)
PAGE = 100
ACTOR = "the platform"
WHY = "a drain concerns every tenant that has packs at the target"
HELD_HERE = (CopyState.GOOD, CopyState.WRITING, CopyState.DAMAGED)

Beat = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Drained:
    """What is left at a target: copies that still count, and copies whose objects go within the hour."""

    staying: int
    leaving: int

    @property
    def empty(self) -> bool:
        """Whether no pack is there any more."""
        return not self.staying and not self.leaving


def drain(target: Target, go_on: Callable[[], bool] = lambda: True) -> Drained:
    """Bring a draining target nearer to empty while `go_on()`; what is left. A pack that must wait holds nobody up."""
    last = 0
    while go_on() and (page := _page(target, last)):
        last = page[-1].pk
        for copy in page:
            with tenant_scope(copy.tenant_id):
                _let_go_quietly(copy)
            if not go_on():
                break
    remove_leaving(target)
    left = what_is_left(target)
    if left.empty and forget_objects(target):
        _retire(target)
    return left


def what_is_left(target: Target) -> Drained:
    """How many copies a target still has."""
    with without_tenant_scope(WHY):
        mine = Copy.objects.filter(target=target.pk)
        staying = mine.filter(state__in=HELD_HERE).count()
        return Drained(staying, mine.filter(state=CopyState.LEAVING).count())


def _page(target: Target, last: int) -> list[Copy]:
    with without_tenant_scope(WHY):
        staying = Copy.objects.filter(target=target.pk, state__in=HELD_HERE, pk__gt=last)
        return list(staying.select_related("target").order_by("pk")[:PAGE])


def _let_go_quietly(copy: Copy) -> None:
    try:
        _let_go(copy)
    except (RecordUnavailable, StoreError, SourceDamaged, TargetTrouble) as fault:
        Copy.objects.filter(pk=copy.pk).update(fault=f"It cannot leave yet: {fault}"[:500])
        thaw_if_cold(copy, fault, "the draining of its target")


def _let_go(copy: Copy) -> None:
    with pack_lease(copy.pack_id) as pack:
        if pack.place != PackPlace.GONE and not _is_held_elsewhere(pack, copy):
            _copy_elsewhere(pack)
            if not _is_held_elsewhere(pack, copy):
                raise RecordUnavailable("no other place has the pack.")
        with transaction.atomic():
            if not lock_held(pack):
                raise RecordUnavailable("the pack is being moved.")
            staying = Copy.objects.filter(pk=copy.pk, state__in=HELD_HERE)
            staying.update(state=CopyState.LEAVING, leaves_at=timezone.now() + GRACE, fault="")


def _is_held_elsewhere(pack: Pack, copy: Copy) -> bool:
    """Whether another place was read just now and has the pack."""
    if pack.place == PackPlace.TARGET:
        return _is_whole_at_home(pack, copy)
    return pack.place == PackPlace.REMOTE and bool(confirm(pack, _others(pack, copy), 1))


def _is_whole_at_home(pack: Pack, copy: Copy) -> bool:
    """Whether the file at home was read just now and is the pack: another file than the copy's own."""
    if is_home_store(copy.target):
        return False
    return bool(read_back(stores.local_target(), pack.path, pack))


def _others(pack: Pack, copy: Copy) -> list[Copy]:
    """The pack's good copies at other places: a second name of the same place is none."""
    return [other for other in good_copies(pack) if not same_place(other.target, copy.target)]


def _copy_elsewhere(pack: Pack) -> None:
    """To where the rules want it, else home."""
    for target in targets_due(pack, timezone.now(), home_fill()):
        try:
            if copy_to(pack, target):
                return
        except TargetTrouble as fault:
            note_failure(target, fault)
    bring_home(pack)


def remove_leaving(target: Target) -> int:
    """Delete the objects of copies whose hour is over; how many went. TargetTrouble when the target cannot do it."""
    with without_tenant_scope(WHY):
        due = Copy.objects.filter(target=target.pk, state=CopyState.LEAVING, leaves_at__lte=timezone.now())
        rows = list(due.select_related("target").order_by("pk")[:PAGE])
    gone = 0
    for copy in rows:
        with tenant_scope(copy.tenant_id), suppress(RecordUnavailable):
            gone += _remove(copy)
    return gone


def _remove(copy: Copy) -> bool:
    with pack_lease(copy.pack_id) as pack:
        if pack.place != PackPlace.GONE and not _still_stands_elsewhere(pack, copy):
            _keep_after_all(pack, copy)
            return False
        delete(open_target(copy.target), copy.key)
        with transaction.atomic():
            Copy.objects.filter(pk=copy.pk, state=CopyState.LEAVING).update(state=CopyState.GONE, fault="")
            record_audit("copy.removed", actor=ACTOR, object=f"pack:{pack.uid.hex}", tenant=pack.tenant_id,
                         target=copy.target.name)  # fmt: skip
    return True


def _still_stands_elsewhere(pack: Pack, copy: Copy) -> bool:
    """Whether another place has the pack now, an hour or more after that was found: the file at home may have rotted
    since, and then this is the last copy that it could be healed from."""
    if _others(pack, copy):
        return True
    return pack.place == PackPlace.TARGET and _is_whole_at_home(pack, copy)


def _keep_after_all(pack: Pack, copy: Copy) -> None:
    """The others were lost meanwhile, and this one is still there: it counts again. The file at home is looked at."""
    logger.error("A copy that was to leave is the last one; it stays.", extra={"pack": pack.uid.hex})
    Copy.objects.filter(pk=copy.pk, state=CopyState.LEAVING).update(state=CopyState.GOOD, leaves_at=None)
    if pack.place == PackPlace.TARGET:
        enqueue(JobKind.SCRUB, subject=f"pack:{pack.pk}", tenant_id=pack.tenant_id)


def _retire(target: Target) -> None:
    with transaction.atomic(), without_tenant_scope(WHY):
        draining = Target.objects.filter(pk=target.pk, state=TargetState.DRAINING)
        if draining.update(state=TargetState.RETIRED):
            record_audit("target.retired", actor=ACTOR, object=f"target:{target.pk}", tenant=target.tenant_id,
                         name=target.name)  # fmt: skip


assert TargetState.DRAINING not in HOLDING, "a copy that must leave is no reason to let another one go"
