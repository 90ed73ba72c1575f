"""Making a platform's backup, putting it to every active target of the platform, and letting the oldest go."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from blake3 import blake3
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.targets.home import home_target
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope

from .beating import BeatingReader
from .contents import write_backup

logger = logging.getLogger(__name__)

FOLDER = "platform"
SUFFIX = ".backup"
KEPT = 14
NAME_CONTEXT = "strongroom/v1/platform-backup-name"


@dataclass
class PutBackup:
    """Where a backup went, and what was wrong with the other targets."""

    name: str
    size: int
    number: int = 0
    targets: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def folder() -> str:
    """This installation's folder in every target: two platforms may share a bucket."""
    name = blake3(settings.SECRET_KEY.encode(), derive_key_context=NAME_CONTEXT).digest()[:8]
    return f"{FOLDER}/{name.hex()}"


def back_up_platform(actor: str, heartbeat: Callable[[], object] = bool) -> PutBackup:
    """Make a backup and put it to every active target of the platform. Raises NoOperatorKey, RebuildRefused.

    RebuildRefused too when no target took it; one that did not is named in what comes back.
    """
    begun = timezone.now()
    with tempfile.TemporaryFile(dir=stores.home()) as file:
        number = write_backup(cast("BinaryIO", file), heartbeat)
        name = f"{begun:%Y%m%dt%H%M%Sz}-{number}{SUFFIX}"
        made = PutBackup(name, file.seek(0, os.SEEK_END), number)
        for target in _targets():
            heartbeat()
            file.seek(0)
            _put(target, cast("BinaryIO", BeatingReader(cast("BinaryIO", file), heartbeat)), made)
    if not made.targets:
        raise RebuildRefused(f"No target took the platform's backup. {' '.join(made.faults)}")
    with transaction.atomic():
        record_audit("platform.backed_up", actor=actor, object=name, number=made.number, size=made.size,
                     targets=made.targets)  # fmt: skip
    return made


def backups_in(store: Store) -> list[str]:
    """The keys of all platforms' backups in a store, the oldest first. Raises StoreError."""
    keys = [key for key in store.list(FOLDER) if key.endswith(SUFFIX)]
    return sorted(keys, key=lambda key: key.rpartition("/")[2])


def _targets() -> list[Target]:
    home_target()
    with without_tenant_scope("the platform's own backup goes to the platform's own targets"):
        return list(Target.objects.filter(tenant__isnull=True, state=TargetState.ACTIVE).order_by("name"))


def _put(target: Target, file: BinaryIO, made: PutBackup) -> None:
    try:
        store = open_store(target)
        store.put(f"{folder()}/{made.name}", file)
        made.targets.append(target.name)
    except (StoreError, SecretUnreadable) as fault:
        made.faults.append(f"{target.name}: {fault}")
        logger.warning("A target did not take the platform's backup.", extra={"target": target.name})
        return
    _let_oldest_go(target, store, {made.name, *_made_lately()})


def _made_lately() -> set[str]:
    """The names of the last backups, as the audit has them."""
    with without_tenant_scope("the platform's own backups belong to no tenant"):
        made = Entry.objects.filter(tenant__isnull=True, verb="platform.backed_up").order_by("-id")
        return set(made.values_list("object", flat=True)[: KEPT - 1])


def _let_oldest_go(target: Target, store: Store, staying: set[str]) -> None:
    """Of this installation's own backups the newest stay. A failed listing deletes nothing.

    Names are anybody's to write, and a clock may have leapt: the last that we made stay beside any that seem newer.
    """
    try:
        own = sorted(key for key in store.list(folder()) if key.endswith(SUFFIX))
        for key in (key for key in own[:-KEPT] if key.rpartition("/")[2] not in staying):
            store.delete(key)
            with transaction.atomic():
                record_audit("platform.backup_deleted", actor="the platform", object=key[:200], target=target.name)
    except NotFound:
        return  # somebody else was faster
    except StoreError:
        logger.info("Old backups of the platform could not be deleted.", extra={"target": target.name})
