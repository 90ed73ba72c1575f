"""The lease of a pack's row: whoever places, copies, evicts, compacts, heals or removes a pack holds it meanwhile.

A lease keeps two of them from working on one pack at once. It is no lock: it ends by itself when its holder died, and a
holder that was too slow finds it gone. So nothing is switched on the strength of having taken it: every switch is an
update of `held(pack)`, whose condition the database checks.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack

LEASE = timedelta(minutes=11)
"""Longer than a task may run (ten minutes), so that only a dead holder's lease ends by itself."""
WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.1


@contextmanager
def pack_lease(pack_id: int, *, wait: bool = False) -> Iterator[Pack]:
    """Hold a pack's lease inside the block; yields its row as it is now, with the vault.

    RecordUnavailable when somebody else has it (with `wait`: still, after a minute), Pack.DoesNotExist when there is no
    such pack in the scope.
    """
    pack = _take(pack_id, WAIT_SECONDS if wait else 0.0)
    try:
        yield pack
    finally:
        held(pack).update(lease_owner="", lease_until=None)


def held(pack: Pack) -> QuerySet[Pack]:
    """The pack's row, as long as the lease that this object was read under is still held."""
    return Pack.objects.filter(pk=pack.pk, lease_owner=pack.lease_owner)


def lock_held(pack: Pack) -> bool:
    """Lock the row until the transaction in force ends, if the lease is still held; whether it is."""
    return held(pack).select_for_update().only("pk").first() is not None


def renew_lease(pack: Pack) -> bool:
    """Hold on for longer; False when the lease was lost: stop, somebody else may be at work."""
    return bool(held(pack).update(lease_until=timezone.now() + LEASE))


def _take(pack_id: int, patience: float) -> Pack:
    until = time.monotonic() + patience
    while True:
        pack = _try(pack_id)
        if pack is not None:
            return pack
        if time.monotonic() >= until:
            raise RecordUnavailable("Somebody else is moving this pack.")
        time.sleep(LOOK_SECONDS)


def _try(pack_id: int) -> Pack | None:
    now, owner = timezone.now(), secrets.token_hex(8)
    free = Pack.objects.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now), pk=pack_id)
    taken = free.update(lease_owner=owner, lease_until=now + LEASE)
    pack = Pack.objects.select_related("vault").get(pk=pack_id)
    return pack if taken else None
