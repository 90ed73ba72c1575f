"""Placing a pack: from the gateway's spool into the local target, while readers go on reading it.

The target gets the file first (a hard link where that is possible; a copy is read back), then the row is switched
under the pack's lease, then the spool's name goes. A reader finds the file in its old place, or looks up the new one.
"""

from __future__ import annotations

import os
from contextlib import suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3
from django.db.models import QuerySet

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import held, pack_lease
from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.catalog.pack_check import drop_cached_pages
from backup_platform.storage.base import AlreadyThere, Store, StoreUnavailable

PLACED = (PackState.VERIFIED, PackState.DAMAGED)


def place_pack(pack_id: int) -> bool:
    """Bring a checked, deduplicated pack from its spool into the local target. False when there is nothing to do.

    Repeatable wherever it broke off. Raises RecordUnavailable while somebody else holds the pack's lease, and
    StoreError when the target is away or full: the pack then stays where it is.
    """
    if not _waiting(pack_id).exists():
        return False
    with pack_lease(pack_id) as pack:
        return _place(pack) if _waiting(pack_id).exists() else False


def _waiting(pack_id: int) -> QuerySet[Pack]:
    return Pack.objects.filter(pk=pack_id, place=PackPlace.SPOOL, state__in=PLACED, deduplicated_at__isnull=False)


def _place(pack: Pack) -> bool:
    source = stores.spool_path(pack.path)
    key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    if not source.parent.is_dir():
        raise RecordUnavailable("The spool that the pack is in is away.")
    if not source.exists():
        return False  # gone: verify and scrub speak of it
    target = stores.local_target()
    with suppress(AlreadyThere):
        target.adopt(key, source)
    if not _is_second_name(target, key, source):
        _check_copy(target, key, pack, source)
    switched = held(pack).filter(place=PackPlace.SPOOL).update(place=PackPlace.TARGET, path=key)
    if switched:
        with suppress(FileNotFoundError):
            source.unlink()
    return bool(switched)


def _is_second_name(target: Store, key: str, source: Path) -> bool:
    """Whether the target's object is the spool's file itself under another name."""
    with target.open(key) as adopted:
        try:
            return os.path.samestat(os.fstat(adopted.fileno()), source.stat())
        except (UnsupportedOperation, AttributeError):
            return False  # not a file of the operating system's


def _check_copy(target: Store, key: str, pack: Pack, source: Path) -> None:
    """Read back what stands in the target before it is relied on: the spool's file is the only other copy."""
    if pack.state == PackState.VERIFIED:
        expected = bytes(pack.digest)
    else:
        with source.open("rb") as file:
            expected = _digest(file)
    with target.open(key) as copy:
        drop_cached_pages(copy)
        if _digest(copy) != expected:
            raise StoreUnavailable(f"{key} in the target holds other bytes than the spool's pack.")


def _digest(file: BinaryIO) -> bytes:
    whole = blake3()
    while piece := file.read(1024 * 1024):
        whole.update(piece)
    return whole.digest()
