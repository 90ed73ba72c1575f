"""Letting the copy in the home directory go: only when enough other copies were read back just before.

The row is switched first, and only from the state that was looked at; the file is unlinked an hour later, when nobody
who looked the place up before the switch can still be reading it, and not before the copies were counted once more.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import held, pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.catalog.pack_files import good_copies
from backup_platform.storage.base import NotFound, StoreError
from backup_platform.targets.same_place import same_place
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering.copying import mark_damaged, open_target
from backup_platform.tiering.due import HOLDING
from backup_platform.tiering.errors import TargetTrouble
from backup_platform.tiering.models import Leftover
from backup_platform.tiering.patience import note_failure, note_success, waited_for
from backup_platform.tiering.reading_back import Heartbeat, read_back

logger = logging.getLogger(__name__)

GRACE = timedelta(hours=1)
MOST_UNLINKED = 500
ACTOR = "the platform"


def evict(pack: Pack, needed: int, heartbeat: Heartbeat = bool) -> bool:
    """Make a pack whose lease the caller has *remote* once `needed` copies were read back; whether it is now.

    Nothing changes when one cannot be read, or is not what it should be: the local file stays.
    """
    if pack.place != PackPlace.TARGET or pack.state != PackState.VERIFIED:
        return False
    confirmed = confirm(pack, good_copies(pack), max(needed, 1), heartbeat)
    return len(confirmed) >= max(needed, 1) and _switch(pack, confirmed, max(needed, 1))


def confirm(pack: Pack, copies: list[Copy], needed: int, heartbeat: Heartbeat = bool) -> list[int]:
    """Read copies back until `needed` have matched; the ids of those that did. What did not match is said.

    Two at one place count as one.
    """
    confirmed: list[Copy] = []
    waiting = waited_for()
    for copy in copies:
        if len(confirmed) >= needed:
            break
        counted = any(same_place(copy.target, other.target) for other in confirmed)
        usable = copy.target.state in HOLDING and copy.target_id not in waiting and not counted
        if usable and is_good(copy, pack, heartbeat):
            confirmed.append(copy)
    return [copy.pk for copy in confirmed]


def is_good(copy: Copy, pack: Pack, heartbeat: Heartbeat = bool) -> bool:
    """Whether a copy was read back and matched just now."""
    try:
        there = read_back(open_target(copy.target), copy.key, pack, heartbeat)
    except TargetTrouble as fault:
        note_failure(copy.target, fault)
        return False
    note_success(copy.target)
    copy.pack = pack
    if there is None:
        mark_damaged(copy, "The target says that it is not there.", CopyState.GONE)
    elif not there:
        mark_damaged(copy, "What was read back is not the pack.")
    else:
        Copy.objects.filter(pk=copy.pk, state=CopyState.GOOD).update(checked_at=timezone.now())
    return bool(there)


def _switch(pack: Pack, confirmed: list[int], needed: int) -> bool:
    with transaction.atomic():
        good = Copy.objects.select_for_update().filter(pk__in=confirmed, state=CopyState.GOOD)
        if len(good) < needed:
            return False
        here = held(pack).filter(place=PackPlace.TARGET, state=PackState.VERIFIED)
        if not here.update(place=PackPlace.REMOTE):
            return False
        wanted = {"tenant_id": pack.tenant_id, "key": pack.path, "unlink_at": timezone.now() + GRACE}
        Leftover.objects.update_or_create(pack=pack, defaults=wanted)
    pack.place = PackPlace.REMOTE
    return True


def unlink_due(now: datetime | None = None) -> int:
    """Unlink the files whose hour is over; how many went. What cannot go now goes at a later tick."""
    with without_tenant_scope("files of every tenant are unlinked"):
        due = Leftover.objects.filter(unlink_at__lte=now or timezone.now()).order_by("unlink_at")[:MOST_UNLINKED]
        rows = list(due)
    gone = 0
    for row in rows:
        with tenant_scope(row.tenant_id):
            try:
                gone += _unlink(row)
            except (RecordUnavailable, StoreError) as fault:
                logger.info("An evicted file cannot be unlinked just now.", extra={"fault": str(fault)})
    return gone


def _unlink(row: Leftover) -> bool:
    with pack_lease(row.pack_id) as pack:
        copies = good_copies(pack)
        if pack.place == PackPlace.REMOTE and not copies:
            _keep_after_all(pack, row)
            return False
        if pack.place == PackPlace.TARGET:
            row.delete()  # it was brought home meanwhile
            return False
        with suppress(NotFound):
            stores.local_target().delete(row.key)
        with transaction.atomic():  # repeated, with nothing left to delete, if it breaks off before
            names = [copy.target.name for copy in copies]
            record_audit("pack.evicted", actor=ACTOR, object=f"pack:{pack.uid.hex}", tenant=pack.tenant_id, held=names)
            row.delete()
    return True


def _keep_after_all(pack: Pack, row: Leftover) -> None:
    """The copies were lost within the hour, and the file is still here: it is the pack again."""
    logger.error("An evicted pack lost its copies; its file stays.", extra={"pack": pack.uid.hex})
    with transaction.atomic():
        held(pack).filter(place=PackPlace.REMOTE).update(place=PackPlace.TARGET, path=row.key)
        row.delete()
