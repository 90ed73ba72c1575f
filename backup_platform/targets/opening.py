"""Opening a target: from its row to a store. The one door; nobody else reads a target's credentials."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from django.utils.module_loading import import_string

from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import Store
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind

__all__ = ["SecretUnreadable", "open_store"]

HOME_STORE = "backup_platform.catalog.stores.local_target"
"""Who opens the home directory, by name: the catalogue stands above this room, and knows whether it may make it."""


def open_store(target: Target) -> Store:
    """The target's store. Raises StoreUnavailable (NotAStore among them) and SecretUnreadable, in plain words.

    An S3 store is kept for the life of the process, until its row says something else; a directory's mark is looked at
    each time, so that a disk that is not mounted is *away* and never empty.
    """
    if target.home:
        return cast("Store", import_string(HOME_STORE)())
    if target.kind == TargetKind.LOCAL:
        return LocalStore(Path(target.path))
    from backup_platform.targets.buckets import bucket_store  # the cloud's SDK takes a second to import

    return bucket_store(target)
