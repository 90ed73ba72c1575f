"""The lease of a pack's row: whoever places, copies, evicts, compacts, heals or removes a pack holds it meanwhile.

A lease keeps two of them from working on one pack at once. It is no lock: it ends by itself when its holder died (at
once where that can be seen, see jobs/owners.py), and a holder that was too slow finds it gone. So nothing is switched
on the strength of having taken it: every switch is an update of `held(pack)`, whose condition the database checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack
from backup_platform.jobs.owners import is_gone, new_owner

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
        _give_back(lambda: held(pack).update(lease_owner="", lease_until=None))


@contextmanager
def pack_leases(pack_ids: Sequence[int]) -> Iterator[list[Pack]]:
    """Hold the leases of those of these packs that nobody else has; yields their rows, with the vault, in order.

    A handful of statements for all of them. Rows that somebody has locked are passed over, not waited for: two that
    take many can then never wait for each other.
    """
    owner, free = new_owner(), _free(Pack.objects.filter(pk__in=list(pack_ids)))
    with transaction.atomic():
        taken = list(free.select_for_update(skip_locked=True).order_by("pk").values_list("pk", flat=True))
        Pack.objects.filter(pk__in=taken).update(lease_owner=owner, lease_until=timezone.now() + LEASE)
    mine = Pack.objects.filter(pk__in=taken, lease_owner=owner)
    try:
        yield list(mine.select_related("vault").order_by("pk"))
    finally:
        _give_back(lambda: _release(mine))


def held(pack: Pack) -> QuerySet[Pack]:
    """The pack's row, as long as the lease that this object was read under is still held."""
    return Pack.objects.filter(pk=pack.pk, lease_owner=pack.lease_owner)


def lock_in_order(packs: QuerySet[Pack]) -> QuerySet[Pack]:
    """Lock these rows until the transaction in force ends, in the order that everybody takes who locks many."""
    return packs.filter(pk__in=list(packs.select_for_update().order_by("pk").values_list("pk", flat=True)))


def lock_held(pack: Pack) -> bool:
    """Lock the row until the transaction in force ends, if the lease is still held; whether it is."""
    return held(pack).select_for_update().only("pk").first() is not None


def held_among(packs: Sequence[Pack]) -> QuerySet[Pack]:
    """Of these packs, the rows whose leases are still held: as many as there are packs, if all are."""
    owners = {pack.lease_owner for pack in packs}
    return Pack.objects.filter(pk__in=[pack.pk for pack in packs], lease_owner__in=owners)


def renew_lease(pack: Pack) -> bool:
    """Hold on for longer; False when the lease was lost: stop, somebody else may be at work."""
    return bool(held(pack).update(lease_until=timezone.now() + LEASE))


def renew_leases(packs: Sequence[Pack]) -> bool:
    """As `renew_lease`, for all of them or none."""
    with transaction.atomic():
        still = lock_in_order(held_among(packs))
        all_held = still.count() == len(packs)
        return all_held and bool(still.update(lease_until=timezone.now() + LEASE))


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
    owner = new_owner()
    free = _free(Pack.objects.filter(pk=pack_id))
    taken = free.update(lease_owner=owner, lease_until=timezone.now() + LEASE)
    pack = Pack.objects.select_related("vault").get(pk=pack_id)
    return pack if taken else None


def _free(packs: QuerySet[Pack]) -> QuerySet[Pack]:
    """Those that nobody holds: without a lease, with one that is over, or with one of a process that has died."""
    now = timezone.now()
    holders = packs.filter(lease_until__gte=now).order_by().values_list("lease_owner", flat=True).distinct()
    dead = [holder for holder in holders if is_gone(holder)]
    return packs.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now) | Q(lease_owner__in=dead))


def _release(packs: QuerySet[Pack]) -> None:
    with transaction.atomic():
        lock_in_order(packs).update(lease_owner="", lease_until=None)


def _give_back(release: Callable[[], object]) -> None:
    """Release, also when the database comes back only now: this process lives on, so its leases would hold their packs
    until they are over. Raises what the database says if it stays away for a minute."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            release()
            return
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or time.monotonic() > until:
                raise
            close_old_connections()
            time.sleep(LOOK_SECONDS)
