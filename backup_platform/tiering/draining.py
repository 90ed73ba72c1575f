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
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import lock_held, pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, SnapshotCopy
from backup_platform.catalog.pack_files import good_copies
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.targets.models import Target, TargetState
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering.copying import copy_to, open_target
from backup_platform.tiering.due import HOLDING, targets_due
from backup_platform.tiering.errors import SourceDamaged, TargetTrouble
from backup_platform.tiering.evicting import confirm
from backup_platform.tiering.patience import note_failure
from backup_platform.tiering.reading_back import read_back
from backup_platform.tiering.recalling import bring_home
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
    if left.empty and _forget_objects(target):
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
        return bool(read_back(stores.local_target(), pack.path, pack))
    others = [other for other in good_copies(pack) if other.target_id != copy.target_id]
    return pack.place == PackPlace.REMOTE and bool(confirm(pack, others, 1))


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
        others = [other for other in good_copies(pack) if other.pk != copy.pk]
        if pack.place == PackPlace.REMOTE and not others:
            Copy.objects.filter(pk=copy.pk, state=CopyState.LEAVING).update(state=CopyState.GOOD, leaves_at=None)
            return False  # the others were lost meanwhile, and this one is still there
        _delete(open_target(copy.target), copy.key)
        with transaction.atomic():
            Copy.objects.filter(pk=copy.pk, state=CopyState.LEAVING).update(state=CopyState.GONE, fault="")
            record_audit("copy.removed", actor=ACTOR, object=f"pack:{pack.uid.hex}", tenant=pack.tenant_id,
                         target=copy.target.name)  # fmt: skip
    return True


def _delete(store: Store, key: str) -> None:
    """Outside of any transaction: a target may take a minute to answer, and the audit's chain must not wait for it."""
    try:
        with suppress(NotFound):
            store.delete(key)
    except StoreError as fault:
        raise TargetTrouble(str(fault)) from fault


def _forget_objects(target: Target) -> bool:
    """Delete the records at a target that are at home too; False while something is left that is not."""
    store, home, strange = open_target(target), stores.local_target(), 0
    with without_tenant_scope(WHY):
        tenants = {target.tenant_id} if target.tenant_id else _tenants_at(target)
    try:
        for tenant in tenants:
            for key in store.list(tenant.hex):
                if home.exists(key) or key.endswith(".parity"):
                    _delete(store, key)
                else:
                    strange += 1
    except StoreError as fault:
        raise TargetTrouble(str(fault)) from fault
    if strange:
        logger.warning("A drained target holds objects that are not at home.", extra={"objects": strange})
    with without_tenant_scope(WHY):
        SnapshotCopy.objects.filter(target=target.pk).delete()
    return not strange


def _tenants_at(target: Target) -> set[UUID]:
    of_copies = Copy.objects.filter(target=target.pk).values_list("tenant_id", flat=True)
    of_snapshots = SnapshotCopy.objects.filter(target=target.pk).values_list("tenant_id", flat=True)
    return set(of_copies.order_by().distinct()) | set(of_snapshots.order_by().distinct())


def _retire(target: Target) -> None:
    with transaction.atomic(), without_tenant_scope(WHY):
        draining = Target.objects.filter(pk=target.pk, state=TargetState.DRAINING)
        if draining.update(state=TargetState.RETIRED):
            record_audit("target.retired", actor=ACTOR, object=f"target:{target.pk}", tenant=target.tenant_id,
                         name=target.name)  # fmt: skip


assert TargetState.DRAINING not in HOLDING, "a copy that must leave is no reason to let another one go"
