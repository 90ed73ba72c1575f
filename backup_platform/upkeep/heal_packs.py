"""Healing one pack at one place: the right bytes are found, put beside, proven, and only then is the row switched."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from django.db import transaction
from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import held, pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.catalog.scrubbing import believe_again
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage.base import StoreError
from backup_platform.targets.models import TargetState
from backup_platform.upkeep.heal_places import Place, places_of
from backup_platform.upkeep.heal_sources import find_bytes, scratch
from backup_platform.upkeep.heal_standing import stand_in

logger = logging.getLogger(__name__)

WRITTEN_TO = (TargetState.ACTIVE,)


@dataclass(frozen=True, slots=True)
class Healing:
    """What came of it: `how` it was healed ("" when not), and why it may be worth another try later."""

    how: str = ""
    away: tuple[str, ...] = field(default=())


def heal_place(place: Place) -> Healing:
    """Make a damaged pack whole at one place. Never raises for what is away: `away` says it then."""
    try:
        with pack_lease(place.pack.pk, wait=True) as pack:
            return _heal(pack, _fresh(place, pack))
    except (StoreError, RecordUnavailable, OSError) as fault:
        why = (fault.strerror or "") if isinstance(fault, OSError) else str(fault)
        logger.warning("Healing has to wait.", extra={"subject": place.subject, "fault": why[:200]})
        return Healing(away=(why[:200],))
    except (Copy.DoesNotExist, Pack.DoesNotExist):
        return Healing()


def _fresh(place: Place, pack: Pack) -> Place:
    """The same place as its row is now."""
    if place.copy is None:
        return Place(pack)
    return Place(pack, Copy.objects.select_related("target", "pack__vault").get(pk=place.copy.pk))


def _heal(pack: Pack, place: Place) -> Healing:
    if not _may_write(place):
        return Healing(away=(f"{place.name} takes nothing new just now.",))
    if len(bytes(pack.digest)) != 32:
        return Healing()
    with scratch() as out:
        search = find_bytes(pack, places_of(pack), place, out)
        for spoilt in search.spoilt:
            ask_to_scrub(spoilt)
        if not search.how:
            return Healing(away=tuple(search.away))
        standing = [place.key]

        def switch(key: str) -> bool:
            if not _switch(pack, place, standing[-1], key):
                return False
            standing.append(key)
            return True

        stand_in(place.store(), place.key, out, bytes(pack.digest), switch)
    return Healing(search.how)


def _may_write(place: Place) -> bool:
    if place.copy is None:
        return place.pack.place == PackPlace.TARGET
    return place.copy.target.state in WRITTEN_TO


def _switch(pack: Pack, place: Place, before: str, after: str) -> bool:
    """Point the row to the proven file, under the pack's lease; a pack that was called damaged is believed again.

    The vault's lock comes before the pack's row, as everywhere.
    """
    now = timezone.now()
    was_damaged = pack.state == PackState.DAMAGED
    with vault_lock(pack.vault.number, shared=False) if was_damaged else transaction.atomic():
        if place.copy is None:
            done = held(pack).filter(path=before, place=PackPlace.TARGET).update(path=after, scrubbed_at=now)
        else:
            mine = Copy.objects.filter(pk=place.copy.pk, key=before, state__in=[CopyState.GOOD, CopyState.DAMAGED])
            good = {"state": CopyState.GOOD, "checked_at": now, "written_at": now, "fault": "", "bytes": pack.bytes}
            done = held(pack).exists() and mine.update(key=after, **good)
        if done and was_damaged:
            believe_again(pack)
    return bool(done)


def ask_to_scrub(place: Place) -> None:
    """Have a place looked at whose row says *good* and which gave other bytes."""
    enqueue(JobKind.SCRUB, subject=place.subject, tenant_id=place.pack.tenant_id)


def ask_to_heal(subject: str, pack: Pack) -> None:
    """Have a damaged thing healed by a job of its own."""
    enqueue(JobKind.HEAL, subject=subject, tenant_id=pack.tenant_id)
