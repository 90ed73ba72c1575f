"""Placing a pack: from the gateway's spool into the local target, while readers go on reading it.

The target gets the file first (a hard link where that is possible, so nothing is copied), then the row is switched
under the pack's lease, then the spool's name goes. A reader finds the file in its old place, or looks up the new one.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import timedelta

from blake3 import blake3
from django.db.models import Q
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.storage.base import AlreadyThere, Store, StoreUnavailable

LEASE = timedelta(minutes=10)
PLACED = (PackState.VERIFIED, PackState.DAMAGED)


def place_pack(pack_id: int) -> bool:
    """Bring a checked, deduplicated pack from its spool into the local target. False when there is nothing to do.

    Repeatable wherever it broke off. Raises RecordUnavailable while somebody else holds the pack's lease, and
    StoreError when the target is away or full: the pack then stays where it is.
    """
    pack = _lease(pack_id)
    if pack is None:
        return False
    try:
        source = stores.spool_path(pack.path)
        key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
        if not source.exists():
            return False  # gone: verify and scrub speak of it
        target = stores.local_target()
        try:
            target.adopt(key, source)
        except AlreadyThere:
            _check_adopted(target, key, pack)
        mine = Pack.objects.filter(pk=pack.pk, lease_owner=pack.lease_owner, place=PackPlace.SPOOL)
        switched = mine.update(place=PackPlace.TARGET, path=key)
        if switched:
            with suppress(FileNotFoundError):
                source.unlink()
        return bool(switched)
    finally:
        Pack.objects.filter(pk=pack.pk, lease_owner=pack.lease_owner).update(lease_owner="", lease_until=None)


def _lease(pack_id: int) -> Pack | None:
    now = timezone.now()
    owner = secrets.token_hex(8)
    waiting = Pack.objects.filter(pk=pack_id, place=PackPlace.SPOOL, state__in=PLACED, deduplicated_at__isnull=False)
    free = waiting.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now))
    if free.update(lease_owner=owner, lease_until=now + LEASE):
        return Pack.objects.get(pk=pack_id)
    if waiting.exists():
        raise RecordUnavailable("Somebody else is moving this pack.")
    return None


def _check_adopted(target: Store, key: str, pack: Pack) -> None:
    """An earlier attempt got as far as the target. What it left is compared before it is relied on."""
    whole = blake3()
    with target.open(key) as file:
        while piece := file.read(1024 * 1024):
            whole.update(piece)
    if pack.state == PackState.VERIFIED and whole.digest() != bytes(pack.digest):
        raise StoreUnavailable(f"{key} in the target holds other bytes than the spool's pack.")
