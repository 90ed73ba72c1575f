"""Copying a pack to a target, repeatable wherever it broke off.

The row comes first (*writing*), so no object lies anywhere that nobody knows of. The object is put under its own key
only if nothing is there (`If-None-Match`), with the SHA-256 that the target must confirm. Whatever the answer was, the
copy counts only after its bytes were read back and matched; an attempt of unknown outcome is looked at first.
"""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from datetime import timedelta
from typing import BinaryIO, cast

from django.db import transaction
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import held, lock_held
from backup_platform.catalog.models import Copy, CopyState, Pack
from backup_platform.catalog.pack_files import PackGone, open_pack_file
from backup_platform.notifications.services import raise_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import AlreadyThere, ChecksumMismatch, Store, StoreError
from backup_platform.storage.pace import Pace, PacedSource, at_least
from backup_platform.targets.models import Target
from backup_platform.targets.opening import open_store
from backup_platform.targets.same_place import is_home_store
from backup_platform.tiering.errors import GoOnLater, SourceDamaged, TargetSlow, TargetTrouble, TieringRefused
from backup_platform.tiering.reading_back import PIECE, Heartbeat, digests, read_back
from backup_platform.tiering.rules import may_hold

logger = logging.getLogger(__name__)

LONG_TURN = timedelta(minutes=5)
"""Who needed longer to take a pack reads it back in another turn, so that no turn is as long as both."""
OTHER_BYTES = "Other bytes stand under its key. Nothing was overwritten."


def copy_to(pack: Pack, target: Target, heartbeat: Heartbeat = bool) -> bool:
    """Make a target hold a good copy of a pack whose lease the caller has; whether it does now.

    False when what lies there is not the pack (said on the copy's row, and as an alert). TargetTrouble when the target
    could not do it just now (TargetSlow among them), RecordUnavailable when the pack cannot be read, SourceDamaged when
    it is not what it was; GoOnLater when it was put, and that took so long that reading it back wants another turn.
    """
    if not may_hold(target, pack.tenant_id):
        raise TieringRefused("A tenant's packs are not copied to another tenant's target.")
    copy, fresh = _row(pack, target)
    if copy.state in (CopyState.GOOD, CopyState.DAMAGED, CopyState.LEAVING):
        return copy.state == CopyState.GOOD
    store = open_target(target)
    there = None if fresh else read_back(store, copy.key, pack, heartbeat)
    if there is None:
        if not fresh:
            _forget_parts(store, copy.key)
        if _put(store, copy.key, pack, heartbeat) > LONG_TURN.total_seconds():
            raise GoOnLater("The pack was put there. It is read back next.")
        there = read_back(store, copy.key, pack, heartbeat)
    if there is None:
        raise TargetTrouble("It took the pack, and then said that it does not have it.")
    return _mark(copy, pack, good=there)


def open_target(target: Target) -> Store:
    """A target's store; TargetTrouble when it is away, its secrets cannot be opened, or it is the home directory's.

    Through a link or a second mount the home's own files would pass for copies of themselves, and go twice.
    """
    if is_home_store(target):
        raise TargetTrouble("It lies in the home directory's own store, so nothing there is a second copy.")
    try:
        return open_store(target)
    except (StoreError, SecretUnreadable) as fault:
        raise TargetTrouble(str(fault)) from fault


def mark_damaged(copy: Copy, fault: str, state: CopyState = CopyState.DAMAGED) -> None:
    """Say that a copy is not what it should be: it does not count any more, and people hear of it."""
    with transaction.atomic():
        Copy.objects.filter(pk=copy.pk).exclude(state=CopyState.LEAVING).update(state=state, fault=fault[:500])
        raise_alert(
            copy.tenant_id, AlertKind.DAMAGED, f"copy:{copy.pk}", Level.ERROR,
            f"A copy of pack {copy.pack.uid.hex[:12]} at {copy.target.name} does not count: {fault}",
            "The other places of the pack are not touched. Look at the target; healing uses another place.",
        )  # fmt: skip
    logger.error("A copy does not count any more.", extra={"pack": copy.pack.uid.hex, "fault": fault})


def _row(pack: Pack, target: Target) -> tuple[Copy, bool]:
    """The copy's row, and whether nothing was ever put under its key by it."""
    key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    written = {"tenant_id": pack.tenant_id, "key": key, "bytes": pack.bytes}
    copy, made = Copy.objects.get_or_create(pack=pack, target=target, defaults=written)
    if copy.state == CopyState.GONE:
        Copy.objects.filter(pk=copy.pk, state=CopyState.GONE).update(state=CopyState.WRITING, fault="", leaves_at=None)
        copy.refresh_from_db(fields=["state"])
    copy.pack, copy.target = pack, target
    return copy, made


def _forget_parts(store: Store, key: str) -> None:
    """What an attempt left whose worker was killed: parts cost money, and nobody else is putting this pack."""
    try:
        store.forget_parts(key)
    except StoreError as fault:
        raise TargetTrouble(str(fault)) from fault


def _put(store: Store, key: str, pack: Pack, heartbeat: Heartbeat) -> float:
    """Put a pack; the seconds that the target took for it."""
    _know_sha256(pack, heartbeat)
    with at_least(pack.bytes, heartbeat) as pace:
        try:
            _send(store, key, pack, pace, heartbeat)
        except TargetTrouble as fault:
            if pace.is_over:
                raise TargetSlow(str(pace.fault()), pace.took) from fault
            raise
    return pace.took


def _send(store: Store, key: str, pack: Pack, pace: Pace, heartbeat: Heartbeat) -> None:
    try:
        with _open_source(pack) as file, suppress(AlreadyThere):
            store.put(key, cast("BinaryIO", PacedSource(file, pace)), sha256=bytes(pack.sha256))
    except ChecksumMismatch as fault:
        _check_source(pack, heartbeat)
        raise TargetTrouble("The bytes were spoilt on their way.") from fault
    except StoreError as fault:
        raise TargetTrouble(str(fault)) from fault
    except OSError as fault:
        raise RecordUnavailable(f"A pack cannot be read just now ({type(fault).__name__}).") from fault


def _know_sha256(pack: Pack, heartbeat: Heartbeat) -> None:
    """SHA-256 is made at the first copy, in the same pass that proves that these are the pack's bytes."""
    if pack.sha256:
        return
    found = _check_source(pack, heartbeat)
    held(pack).update(sha256=found)
    pack.sha256 = found


def _check_source(pack: Pack, heartbeat: Heartbeat) -> bytes:
    try:
        with _open_source(pack) as file:
            found = digests(file, heartbeat)
    except OSError as fault:
        raise RecordUnavailable(f"A pack cannot be read just now ({type(fault).__name__}).") from fault
    if not found.are_of(pack):
        raise SourceDamaged("The pack that should be copied does not match its digest; nothing was copied.")
    return found.sha256


def _open_source(pack: Pack) -> BinaryIO:
    try:
        file = open_pack_file(pack)
    except PackGone:
        raise SourceDamaged("The pack that should be copied is not there.") from None
    return io.BufferedReader(file, PIECE) if isinstance(file, io.RawIOBase) else file


def _mark(copy: Copy, pack: Pack, *, good: bool) -> bool:
    if not good:
        mark_damaged(copy, OTHER_BYTES)
        return False
    now = timezone.now()
    with transaction.atomic():
        if not lock_held(pack):
            raise RecordUnavailable("The pack's lease ended while it was copied.")
        writing = Copy.objects.filter(pk=copy.pk, state=CopyState.WRITING)
        changes = {"state": CopyState.GOOD, "bytes": pack.bytes, "written_at": now, "checked_at": now, "fault": ""}
        return bool(writing.update(**changes))
