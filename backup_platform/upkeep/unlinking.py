"""Unlinking: the files of packs that nothing names any more, at home and at every target.

Deletion in reverse: the rows of the records went first, then a grace passed, then the pack's row says *gone*, then the
files go. Before that the rows are asked once more, under the vault's exclusive lock. A crash in between leaves a row
that is *gone* and still has its `unlink_at`: whoever comes next goes on from there. All of it goes in lots: a pack's
own transactions and fsyncs would cost more than everything else that a round does.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.utils import timezone

from backup_platform.audit.services import record
from backup_platform.catalog import stores
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.leases import held_among, lock_in_order, pack_leases
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace
from backup_platform.storage.base import Store, StoreError
from backup_platform.targets.models import TargetState
from backup_platform.targets.opening import SecretUnreadable, open_store
from backup_platform.targets.queries import target_by_id
from backup_platform.tiering.asking import ask_to_copy
from backup_platform.upkeep.emptying import named_packs
from backup_platform.upkeep.heal_places import parity_key
from backup_platform.upkeep.models import HomeParity
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

logger = logging.getLogger(__name__)

LOT = 100
"""Packs under the vault's exclusive lock at a time."""


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
        turn.check()
        due = Pack.objects.filter(vault=vault, unlink_at__lte=timezone.now(), pk__gt=after).order_by("pk")
        ids = list(due.values_list("pk", flat=True)[:LOT])
        if not ids:
            return done
        _unlink(vault, ids, turn, done)
        after = ids[-1]


def _unlink(vault: Vault, ids: Sequence[int], turn: Turn, done: Unlinked) -> None:
    with pack_leases(ids) as leased:
        if len(leased) < len(ids):
            done.waits_for.append(f"somebody who works on {len(ids) - len(leased)} of the packs")
        due = [pack for pack in leased if pack.unlink_at is not None]
        gone = [pack for pack in due if pack.place == PackPlace.GONE]
        gone += _give_up(vault, [pack for pack in due if pack.place != PackPlace.GONE], done)
        faults = _delete_files(gone, turn)
        done.waits_for += [fault for found in faults.values() for fault in found]
        _note_removed([pack for pack in gone if pack.pk not in faults], done)


def _note_removed(packs: Sequence[Pack], done: Unlinked) -> None:
    HomeParity.objects.filter(pack__in=packs).delete()
    done.packs += held_among(packs).update(unlink_at=None)
    done.bytes += sum(pack.bytes for pack in packs)


def _give_up(vault: Vault, packs: Sequence[Pack], done: Unlinked) -> list[Pack]:
    """Write *gone* into the rows, unless something names a pack again or its successor lacks a copy; which went."""
    if not packs:
        return []
    with vault_lock(vault.number, shared=False):
        still = set(lock_in_order(held_among(packs)).values_list("pk", flat=True))
        named = named_packs(vault.number, list(still))
        held_among([pack for pack in packs if pack.pk in named]).update(unlink_at=None, replaced_by=None)
        unnamed = [pack for pack in packs if pack.pk in still - named]
        lacking = _copies_that_successors_lack(unnamed)
        done.waits_for += [f"a copy of what replaced pack {pack.uid.hex[:12]} at {lacking[pack.pk]}"
                           for pack in unnamed if pack.pk in lacking]  # fmt: skip
        return _write_gone(vault, [pack for pack in unnamed if pack.pk not in lacking])


def _write_gone(vault: Vault, packs: list[Pack]) -> list[Pack]:
    """In the transaction in force, which holds the rows."""
    if packs:
        held_among(packs).update(place=PackPlace.GONE)
        Copy.objects.filter(pack__in=packs).exclude(state=CopyState.GONE).update(
            state=CopyState.LEAVING, leaves_at=timezone.now()
        )
        record("packs.removed", actor="reclaim", object=f"vault:{vault.pk}", tenant=vault.tenant_id,
               packs=[pack.uid.hex for pack in packs], bytes=sum(pack.bytes for pack in packs))  # fmt: skip
    return packs


def _copies_that_successors_lack(packs: Sequence[Pack]) -> dict[int, str]:
    """By pack: the first target in use that has a good copy of it and none of the one that replaced it.

    That copy is asked for (at a paused target it has to wait). Otherwise compaction would leave bytes on one disk that
    were on two.
    """
    replaced = [pack for pack in packs if pack.replaced_by_id is not None]
    copied = set(Copy.objects.filter(pack__in=replaced, state=CopyState.GOOD).values_list("pack_id", flat=True))
    found = {pack.pk: _copies_that_the_successor_lacks(pack) for pack in replaced if pack.pk in copied}
    return {pack_id: target for pack_id, target in found.items() if target}


def _copies_that_the_successor_lacks(pack: Pack) -> str:
    new = _last_successor(pack)
    if new is None:
        return ""
    there = set(_good_targets(new))
    lacking = [target for target in map(target_by_id, _good_targets(pack)) if target.pk not in there]
    lacking = [target for target in lacking if target.state in (TargetState.ACTIVE, TargetState.PAUSED)]
    for target in lacking:
        if target.state == TargetState.ACTIVE:
            ask_to_copy(new, target)
    return lacking[0].name if lacking else ""


def _last_successor(pack: Pack) -> Pack | None:
    """Where the pack's records went, and went on to when that was replaced itself; None if no record of it is left."""
    new = pack
    while new.place == PackPlace.GONE or new.unlink_at is not None:
        if new.replaced_by_id is None:
            return None
        new = Pack.objects.get(pk=new.replaced_by_id)
    return new


def _good_targets(pack: Pack) -> list[UUID]:
    return list(Copy.objects.filter(pack=pack, state=CopyState.GOOD).values_list("target_id", flat=True))


def _delete_files(packs: Sequence[Pack], turn: Turn) -> dict[int, list[str]]:
    """Delete the packs' files everywhere; by pack what could not be deleted, in words."""
    faults: defaultdict[int, list[str]] = defaultdict(list)
    for pack_id, fault in [*_delete_at_home(packs), *_delete_copies(packs, turn)]:
        faults[pack_id].append(fault)
    return dict(faults)


def _delete_at_home(packs: Sequence[Pack]) -> list[tuple[int, str]]:
    """All in one go; if that fails, each for itself, so that one bad file holds back no other."""
    if not packs:
        return []
    try:
        stores.local_target().delete_all([key for pack in packs for key in _keys_at_home(pack)])
    except StoreError:
        return list(_delete_each_at_home(packs))
    return []


def _delete_each_at_home(packs: Sequence[Pack]) -> Iterator[tuple[int, str]]:
    for pack in packs:
        try:
            stores.local_target().delete_all(_keys_at_home(pack))
        except StoreError as fault:
            yield pack.pk, f"the home directory: {fault}"


def _keys_at_home(pack: Pack) -> list[str]:
    usual = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    return [name for key in {usual, pack.path or usual} for name in (key, parity_key(key))]


def _delete_copies(packs: Sequence[Pack], turn: Turn) -> Iterator[tuple[int, str]]:
    for copy in Copy.objects.filter(pack__in=packs).exclude(state=CopyState.GONE).order_by("pack_id", "pk"):
        turn.check()
        fault = _delete_copy(copy)
        if fault:
            yield copy.pack_id, fault


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
    store.delete_all((key, parity_key(key)))
