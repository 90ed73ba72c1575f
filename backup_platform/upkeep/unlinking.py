"""Unlinking: the files of packs that nothing names any more, at home and at every target.

Deletion in reverse: the rows of the records went first, then a grace passed, then the pack's row says *gone*, then the
files go. Before that the rows are asked once more, under the vault's exclusive lock. A crash in between leaves a row
that is *gone* and still has its `unlink_at`: whoever comes next goes on from there.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from uuid import UUID

from django.utils import timezone

from backup_platform.audit.services import record
from backup_platform.catalog import stores
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import held, pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.targets.models import TargetState
from backup_platform.targets.opening import SecretUnreadable, open_store
from backup_platform.targets.queries import target_by_id
from backup_platform.tiering.asking import ask_to_copy
from backup_platform.upkeep.emptying import is_named
from backup_platform.upkeep.heal_places import parity_key
from backup_platform.upkeep.models import HomeParity
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

logger = logging.getLogger(__name__)

PAGE = 200


@dataclass(slots=True)
class Unlinked:
    """What was removed, and what has to wait and for what."""

    packs: int = 0
    bytes: int = 0
    waits_for: list[str] = field(default_factory=list)


def unlink_due(vault: Vault, turn: Turn) -> Unlinked:
    """Remove the files of every pack of the vault whose grace is over."""
    done, after = Unlinked(), 0
    while True:
        due = Pack.objects.filter(vault=vault, unlink_at__lte=timezone.now(), pk__gt=after).order_by("pk")
        ids = list(due.values_list("pk", flat=True)[:PAGE])
        if not ids:
            return done
        for pack_id in ids:
            turn.check()
            _unlink(pack_id, done)
        after = ids[-1]


def _unlink(pack_id: int, done: Unlinked) -> None:
    try:
        with pack_lease(pack_id) as pack:
            if pack.unlink_at is None or (pack.place != PackPlace.GONE and not _give_up(pack, done)):
                return
            faults = _delete_files(pack)
            if faults:
                done.waits_for += faults
            elif held(pack).update(unlink_at=None):
                HomeParity.objects.filter(pack=pack).delete()
                done.packs += 1
                done.bytes += pack.bytes
    except RecordUnavailable as busy:
        done.waits_for.append(str(busy))
    except Pack.DoesNotExist:
        return


def _give_up(pack: Pack, done: Unlinked) -> bool:
    """Write *gone* into the row, unless something names the pack again or its successor lacks a copy."""
    with vault_lock(pack.vault.number, shared=False):
        if is_named(pack):
            held(pack).update(unlink_at=None, replaced_by=None)
            return False
        lacking = _copies_that_the_successor_lacks(pack)
        if lacking:
            done.waits_for.append(f"a copy of what replaced pack {pack.uid.hex[:12]} at {lacking}")
            return False
        if not held(pack).update(place=PackPlace.GONE):
            return False
        Copy.objects.filter(pack=pack).exclude(state=CopyState.GONE).update(
            state=CopyState.LEAVING, leaves_at=timezone.now()
        )
        record("pack.removed", actor="reclaim", object=f"pack:{pack.uid}", tenant=pack.tenant_id, bytes=pack.bytes)
        return True


def _copies_that_the_successor_lacks(pack: Pack) -> str:
    """The first active target that has a good copy of this pack and none of the one that replaced it; it is asked for.

    Otherwise compaction would leave bytes on one disk that were on two.
    """
    if pack.replaced_by_id is None:
        return ""
    new = Pack.objects.get(pk=pack.replaced_by_id)
    if new.place == PackPlace.GONE or new.unlink_at is not None:
        return ""  # it was replaced itself, or nothing of it is needed any more
    there = set(_good_targets(new))
    lacking = [target for target in map(target_by_id, _good_targets(pack)) if target.pk not in there]
    lacking = [target for target in lacking if target.state == TargetState.ACTIVE]
    for target in lacking:
        ask_to_copy(new, target)
    return lacking[0].name if lacking else ""


def _good_targets(pack: Pack) -> list[UUID]:
    return list(Copy.objects.filter(pack=pack, state=CopyState.GOOD).values_list("target_id", flat=True))


def _delete_files(pack: Pack) -> list[str]:
    """Delete the pack's files everywhere; what could not be deleted, in words."""
    faults = []
    usual = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    try:
        for key in {usual, pack.path or usual}:
            _delete(stores.local_target(), key)
    except StoreError as fault:
        faults.append(f"the home directory: {fault}")
    for copy in Copy.objects.filter(pack=pack).exclude(state=CopyState.GONE).order_by("pk"):
        fault_there = _delete_copy(copy)
        if fault_there:
            faults.append(fault_there)
    return faults


def _delete_copy(copy: Copy) -> str:
    target = target_by_id(copy.target_id)
    try:
        _delete(open_store(target), copy.key)
    except (StoreError, SecretUnreadable) as fault:
        logger.warning("A pack's copy could not be removed yet.", extra={"copy": copy.pk, "target": str(target.pk)})
        return f"target {target.name}: {fault}"
    Copy.objects.filter(pk=copy.pk).update(state=CopyState.GONE)
    return ""


def _delete(store: Store, key: str) -> None:
    for name in (key, parity_key(key)):
        try:
            store.delete(name)
        except NotFound:
            continue
