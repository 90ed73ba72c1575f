"""Bringing a pack home from a target: when its target is drained, or somebody wants to work on its file."""

from __future__ import annotations

import io
from contextlib import suppress

from django.db import transaction

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordCold, RecordUnavailable
from backup_platform.catalog.leases import held, pack_lease
from backup_platform.catalog.models import Copy, Pack, PackPlace
from backup_platform.catalog.pack_files import PackGone, open_pack_file, read_cache
from backup_platform.catalog.remote_files import ColdBytes, unavailable
from backup_platform.storage.base import AlreadyThere, NotFound, NotThawed, Store, StoreUnavailable
from backup_platform.storage.pace import at_least
from backup_platform.tiering.errors import TargetTrouble
from backup_platform.tiering.models import Leftover
from backup_platform.tiering.reading_back import PIECE, Heartbeat, read_back
from backup_platform.tiering.thawing import thaw


def recall(pack_id: int) -> bool:
    """Bring a remote pack home; whether it is at home now. Raises RecordUnavailable and StoreError: try again later."""
    with pack_lease(pack_id) as pack:
        return bring_home(pack)


def bring_home(pack: Pack, heartbeat: Heartbeat = bool) -> bool:
    """As `recall`, for a pack whose lease the caller has."""
    if pack.place != PackPlace.REMOTE:
        return pack.place == PackPlace.TARGET
    home, key = stores.local_target(), stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    try:
        mine = _fetch(home, key, pack, heartbeat)
        if not read_back(home, key, pack, heartbeat):
            _take_back(home, key, pack, mine)
            raise RecordUnavailable("What came from the target is not the pack.")
    except PackGone:
        raise RecordUnavailable("No target has the pack just now.") from None
    except StoreUnavailable as fault:
        if is_cold(fault):
            raise RecordCold from fault
        raise
    except OSError as fault:
        raise unavailable(fault) from fault
    except TargetTrouble as fault:
        raise RecordUnavailable(f"The pack cannot be brought home just now ({type(fault).__name__}).") from fault
    with transaction.atomic():
        switched = held(pack).filter(place=PackPlace.REMOTE).update(place=PackPlace.TARGET, path=key)
        if not switched:
            raise RecordUnavailable("The pack's lease ended while it was brought home.")
        Leftover.objects.filter(pack=pack).delete()
    pack.place, pack.path = PackPlace.TARGET, key
    return True


def thaw_if_cold(copy: Copy, fault: BaseException, by: str) -> None:
    """Ask cold storage for a pack that somebody wanted to move and could not read: a drain is a person's own wish."""
    if is_cold(fault):
        thaw([copy.pack_id], by)


def is_cold(fault: BaseException) -> bool:
    """Whether a fault, or what it came from, says that a pack lies in cold storage."""
    cause: BaseException | None = fault
    while cause is not None and not isinstance(cause, ColdBytes | RecordCold | NotThawed):
        cause = cause.__cause__
    return cause is not None


def _fetch(home: Store, key: str, pack: Pack, heartbeat: Heartbeat) -> bool:
    """Bring the bytes; whether they were put just now (False: a file stood there already).

    A target that gives them too slowly is left; what came is in the cache, and the next attempt goes on from there.
    """
    with at_least(pack.bytes, heartbeat), open_pack_file(pack) as file:
        try:
            home.put(key, io.BufferedReader(file, PIECE))  # type: ignore[type-var]
        except AlreadyThere:
            return False
    return True


def _take_back(home: Store, key: str, pack: Pack, mine: bool) -> None:
    """Wrong bytes must not stand in the way of the right ones: what was put goes again, and so does what they may have
    come from, the cache. A file that stood there before is not touched."""
    read_cache().forget(pack.uid.hex)
    if mine and held(pack).exists():
        with suppress(NotFound):
            home.delete(key)
