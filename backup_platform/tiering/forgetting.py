"""The small objects at a target that was drained: they go if home has them, and what differs stays.

Most of them can be made again from the catalogue's rows. A root cannot, nor can what became of a snapshot, nor a pack:
of those it is not enough that home has something under the key, for that may have rotted unseen.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from uuid import UUID

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, SnapshotCopy
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage.base import NotFound, Store, StoreError
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.copying import open_target
from backup_platform.tiering.errors import TargetTrouble
from backup_platform.tiering.reading_back import PIECE

logger = logging.getLogger(__name__)

WHY = "a drain concerns every tenant that has objects at the target"
ONLY_STORED = (".root", ".lifecycle", ".pack")
"""What no row could replace."""


def forget_objects(target: Target) -> bool:
    """Delete the records at a target that are at home too; False while something is left that is not."""
    store, home = open_target(target), stores.local_target()
    strange, hurt = 0, set[UUID]()
    with without_tenant_scope(WHY):
        tenants = {target.tenant_id} if target.tenant_id else _tenants_at(target)
    try:
        for tenant in tenants:
            for key in store.list(tenant.hex):
                if key.endswith(".parity") or _stands_at_home(home, store, key):
                    delete(store, key)
                    continue
                strange += 1
                if key.endswith(".root") and home.exists(key):
                    hurt.add(_ask_to_heal(key))
    except StoreError as fault:
        raise TargetTrouble(str(fault)) from fault
    if strange:
        logger.warning("A drained target holds objects that are not at home.", extra={"objects": strange})
    with without_tenant_scope(WHY):
        SnapshotCopy.objects.filter(target=target.pk).exclude(snapshot__in=hurt).delete()
    return not strange


def _ask_to_heal(key: str) -> UUID:
    """A root that differs from the one at home: one of them is damaged, and a look at the snapshot tells which."""
    tenant, name = UUID(key.partition("/")[0]), UUID(key.rpartition("/")[2].partition(".")[0])
    enqueue(JobKind.HEAL, subject=f"snapshot:{name}", tenant_id=tenant)
    return name


def _tenants_at(target: Target) -> set[UUID]:
    of_copies = Copy.objects.filter(target=target.pk).values_list("tenant_id", flat=True)
    of_snapshots = SnapshotCopy.objects.filter(target=target.pk).values_list("tenant_id", flat=True)
    return set(of_copies.order_by().distinct()) | set(of_snapshots.order_by().distinct())


def delete(store: Store, key: str) -> None:
    """Outside of any transaction: a target may take a minute to answer, and the audit's chain must not wait for it."""
    try:
        with suppress(NotFound):
            store.delete(key)
    except StoreError as fault:
        raise TargetTrouble(str(fault)) from fault


def _stands_at_home(home: Store, store: Store, key: str) -> bool:
    """Whether home holds the key; of what no row could replace: the same bytes. Raises StoreError."""
    if not home.exists(key):
        return False
    return not key.endswith(ONLY_STORED) or _same(home, store, key)


def _same(home: Store, store: Store, key: str) -> bool:
    try:
        with home.open(key) as here, store.open(key) as there:
            while piece := there.read(PIECE):
                if here.read(len(piece)) != piece:
                    return False
            return not here.read(1)
    except OSError:  # a sector that cannot be read holds nothing that could be relied on
        return False
