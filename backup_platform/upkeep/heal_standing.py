"""Putting proven bytes in place of a damaged object, without ever writing over one.

The good bytes come under a further key, are read back, and only then is the row switched to that key; only then does
the damaged object go, and the good one returns to its usual name the same way: put, read back, switch, remove. Broken
off at any point, the row names an object that was read back, and doing it again goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from backup_platform.storage.base import AlreadyThere, NotFound, Store, StoreError, StoreUnavailable
from backup_platform.upkeep.heal_places import further_key, usual_key
from backup_platform.upkeep.heal_sources import matches

logger = logging.getLogger(__name__)

MOST_TRIES = 9
"""Further keys of one object; each but the last was found damaged while it was the newest."""
Switch = Callable[[str], bool]
"""Point the row to a key, if it still is as it was; whether that happened."""


class LostTurn(StoreUnavailable):
    """Somebody else changed the row meanwhile: nothing was switched or removed."""


def stand_in(store: Store, damaged_key: str, good: BinaryIO, digest: bytes, switch: Switch) -> str:
    """Replace what stands (or stood) under `damaged_key` by `good`, whose BLAKE3 is `digest`; its new key.

    Raises LostTurn, and StoreUnavailable when the store cannot do it just now or gives back other bytes.
    """
    new = _put_proven(store, damaged_key, good, digest)
    if not switch(new):
        raise LostTurn("It was moved while it was healed.")  # what was put stays: the row may name it by now
    if new == damaged_key or not _remove(store, damaged_key) or new == usual_key(new):
        return new
    return _go_home(store, new, good, digest, switch)


def _go_home(store: Store, new: str, good: BinaryIO, digest: bytes, switch: Switch) -> str:
    """From the further key to the usual one, which is free now. Where that fails, the further key stays: it is good."""
    usual = usual_key(new)
    try:
        if not _put(store, usual, good, digest) or not switch(usual):
            return new
    except StoreUnavailable as fault:
        logger.warning("A healed object keeps its further key.", extra={"key": new, "fault": str(fault)[:200]})
        return new
    _remove(store, new)
    return usual


def _put_proven(store: Store, damaged_key: str, good: BinaryIO, digest: bytes) -> str:
    usual = usual_key(damaged_key)
    for key in [usual, *(further_key(usual, number) for number in range(1, MOST_TRIES + 1))]:
        if key != damaged_key and _put(store, key, good, digest):
            return key
        if key == damaged_key and not store.exists(key) and _put(store, key, good, digest):
            return key
    raise StoreUnavailable(f"{usual}: {MOST_TRIES} healed files stand there already. Look at this disk or bucket.")


def _put(store: Store, key: str, good: BinaryIO, digest: bytes) -> bool:
    """Put and read back; False when something else stands under this key."""
    good.seek(0)
    with suppress(AlreadyThere):  # a try that broke off may have put it: reading back tells
        store.put(key, good)
        if not _reads_back(store, key, digest):
            _remove(store, key)
            raise StoreUnavailable(f"{key}: what was just put there reads back differently.")
        return True
    return _reads_back(store, key, digest)


def _reads_back(store: Store, key: str, digest: bytes) -> bool:
    try:
        with store.open(key) as file:
            return matches(file, digest)
    except OSError:  # a sector that cannot be read holds nothing that could be relied on
        return False


def _remove(store: Store, key: str) -> bool:
    """Whether the key is free now; a store that keeps it (a lock against deletion) is no failure of healing."""
    try:
        store.delete(key)
    except NotFound:
        return True
    except StoreError as fault:
        logger.warning("A damaged object could not be removed.", extra={"key": key, "fault": str(fault)[:200]})
        return False
    return True
