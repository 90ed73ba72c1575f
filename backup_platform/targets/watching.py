"""Ticks over all targets: whether one that was away is back, and what nobody finished there.

Tenants name the endpoints, and one that answers slowly would hold up everybody behind it. So the owners take turns, the
platform first and the others in another order each time; nobody new is asked once the turn is over, and nobody is
waited for as long as where bytes are at stake.
"""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from time import monotonic
from typing import TYPE_CHECKING
from uuid import UUID

from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import Store, StoreError
from backup_platform.targets.availability import is_slow, note_away, note_back
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.opening import open_store
from backup_platform.targets.queries import all_targets

if TYPE_CHECKING:
    from backup_platform.storage.s3 import S3Store

logger = logging.getLogger(__name__)

ASKED = "probe/nothing"
"""A key that nobody writes: an answer is an answer, also "not there"."""
TURN_SECONDS = 240.0
"""Of a task that may run for nine minutes: what was begun last must have time to end."""
HASTE: dict[str, int] = {"connect": 5, "silence": 10, "attempts": 2}
"""Seconds, and tries in all."""


def look_again() -> int:
    """Ask the targets that are away for something small; how many are back. Others notice for themselves, and so does
    who copies packs to one that is too slow: that it answers is nothing new."""
    silent = (one for one in all_targets() if one.away_since is not None and not is_slow(one))
    return sum(_is_back(target) for target in _in_turns(silent))


def clear_unfinished() -> int:
    """End the uploads in parts that nobody finished within two days, at every bucket: they cost money. How many."""
    usable = (one for one in all_targets() if one.kind == TargetKind.S3 and not one.away_since)
    return sum(_clear(target) for target in _in_turns(usable))


def _in_turns(targets: Iterable[Target]) -> Iterator[Target]:
    """One of each owner, then another one of each, until the time is over."""
    by_owner: defaultdict[UUID | None, list[Target]] = defaultdict(list)
    for target in targets:
        by_owner[target.tenant_id].append(target)
    owners = sorted(by_owner, key=lambda owner: (owner is not None, random.random()))
    for mine in by_owner.values():
        random.shuffle(mine)
    until = monotonic() + TURN_SECONDS
    for lap in zip_longest(*(by_owner[owner] for owner in owners)):
        for target in filter(None, lap):
            if monotonic() > until:
                logger.info("Not every target could be asked in this turn.")
                return
            yield target


def _is_back(target: Target) -> bool:
    try:
        _open_in_haste(target).exists(ASKED)
    except (StoreError, SecretUnreadable) as fault:
        note_away(target, fault)
        return False
    return note_back(target)


def _open_in_haste(target: Target) -> Store:
    return _bucket(target) if target.kind == TargetKind.S3 and not target.home else open_store(target)


def _bucket(target: Target) -> S3Store:
    from backup_platform.storage.s3 import Patience  # the cloud's SDK takes a second to import
    from backup_platform.targets.buckets import make_store

    return make_store(target, patience=Patience(**HASTE))


def _clear(target: Target) -> int:
    try:
        return _bucket(target).clear_unfinished()
    except (StoreError, SecretUnreadable) as fault:
        logger.warning(
            "Unfinished uploads could not be cleared.", extra={"target": str(target.pk), "reason": str(fault)}
        )
        return 0
