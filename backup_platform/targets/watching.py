"""Ticks over all targets: whether one that was away is back, and what nobody finished there."""

from __future__ import annotations

import logging

from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import Store, StoreError
from backup_platform.targets.availability import note_away, note_back
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.opening import open_store
from backup_platform.targets.queries import all_targets

logger = logging.getLogger(__name__)

ASKED = "probe/nothing"
"""A key that nobody writes: an answer is an answer, also "not there"."""


def look_again() -> int:
    """Ask every target that is away for something small; how many are back. Others notice for themselves."""
    return sum(_is_back(target) for target in all_targets() if target.away_since is not None)


def clear_unfinished() -> int:
    """End the uploads in parts that nobody finished within two days, at every bucket: they cost money. How many."""
    return sum(_clear(target) for target in all_targets() if target.kind == TargetKind.S3 and not target.away_since)


def _is_back(target: Target) -> bool:
    try:
        store: Store = open_store(target)
        store.exists(ASKED)
    except (StoreError, SecretUnreadable) as fault:
        note_away(target, fault)
        return False
    return note_back(target)


def _clear(target: Target) -> int:
    from backup_platform.targets.buckets import bucket_store  # the cloud's SDK takes a second to import

    try:
        return bucket_store(target).clear_unfinished()
    except (StoreError, SecretUnreadable) as fault:
        logger.warning(
            "Unfinished uploads could not be cleared.", extra={"target": str(target.pk), "reason": str(fault)}
        )
        return 0
