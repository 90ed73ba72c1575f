"""The stores of S3 targets, kept for as long as their rows say the same."""

from __future__ import annotations

import os
import threading
from dataclasses import fields
from typing import Any

from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.s3 import Abilities, Account, Keeping, Patience, Place, S3Store
from backup_platform.targets.credentials import opened
from backup_platform.targets.models import Target

MAX_KEPT = 100
PATIENCE = Patience()

_kept: dict[tuple[object, ...], S3Store] = {}
_lock = threading.Lock()


def bucket_store(target: Target) -> S3Store:
    """The store of an S3 target. Raises StoreUnavailable and SecretUnreadable; asks nothing of the network."""
    version = _version(target)
    with _lock:
        store = _kept.get(version)
        if store is None:
            if len(_kept) >= MAX_KEPT:
                _kept.clear()
            store = _kept[version] = make_store(target)
    return store


def make_store(
    target: Target, abilities: Abilities | None = None, keeping: Keeping | None = None, patience: Patience = PATIENCE
) -> S3Store:
    """A store of a target's own, as its row says (with other abilities, and kept otherwise: for the probe)."""
    held = opened(target)
    if not held.access_key:
        raise StoreUnavailable(f"The target {target.name} has no credentials: enter them.")
    place = Place(target.bucket, target.endpoint, target.region, target.allow_private)
    keeping = keeping or Keeping(target.storage_class, target.lock_days or 0)
    account = Account(held.access_key, held.secret_key, held.session_token)
    try:
        return S3Store(
            place, account, prefix=target.prefix, abilities=abilities or abilities_of(target.flags), keeping=keeping,
            patience=patience,
        )  # fmt: skip
    except ValueError:
        raise StoreUnavailable(f"The target {target.name} has an endpoint, bucket or prefix that cannot be.") from None


def abilities_of(flags: Any) -> Abilities:
    """What the probe found out, as the store wants it."""
    found = flags if isinstance(flags, dict) else {}
    return Abilities(**{one.name: found.get(one.name) is True for one in fields(Abilities)})


def _version(target: Target) -> tuple[object, ...]:
    """All that a store is made of; the process's id, since a client does not outlive a fork."""
    return (os.getpid(), target.pk, target.endpoint, target.region, target.bucket, target.prefix, bytes(target.sealed),
            target.allow_private, target.storage_class, target.lock_days, abilities_of(target.flags))  # fmt: skip
