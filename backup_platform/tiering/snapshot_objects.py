"""A snapshot's small objects at every active target: what a restore needs besides packs, right after the commit.

They come from the home directory as the commit put them there, checked against the catalogue first. Order: what stands
beside snapshots, root, recipient records, lifecycle records, and last the statement, by which a rebuild finds it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from blake3 import blake3
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Snapshot, SnapshotCopy, SnapshotState
from backup_platform.storage.base import AlreadyThere, NotFound, Store, StoreError
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.queries import targets_of
from backup_platform.tiering.copying import open_target
from backup_platform.tiering.errors import TargetTrouble
from backup_platform.vaults.models import WrappedSecret

logger = logging.getLogger(__name__)

MOST_LIFECYCLE = 10_000
MOST_SECRETS = 100
DIFFERS = "Other bytes stand under one of its keys there. Nothing was overwritten."


def targets_for_objects(tenant_id: UUID) -> list[Target]:
    """The targets that every snapshot's objects of a tenant go to: all active ones but the home directory."""
    return [target for target in targets_of(tenant_id) if target.state == TargetState.ACTIVE and not target.home]


def copy_objects(snapshot: Snapshot, target: Target) -> bool:
    """Make a target hold a snapshot's objects, new lifecycle records among them; False when other bytes lie there.

    Repeatable. TargetTrouble when the target cannot do it now, RecordUnavailable when the home directory cannot.
    """
    row, _ = SnapshotCopy.objects.get_or_create(
        snapshot=snapshot, target=target, defaults={"tenant_id": snapshot.tenant_id}
    )
    store = open_target(target)
    number = row.lifecycle
    try:
        if row.objects_at is None:
            _put_standing(store, snapshot)
            if snapshot.state != SnapshotState.RECLAIMED:
                _put_all(store, _own(snapshot))
        for number, key, data in _lifecycle(snapshot, row.lifecycle):  # noqa: B007 (the last number is kept)
            _put_all(store, [(key, data)])
        if row.objects_at is None:
            _put_all(store, [_statement(snapshot)])
    except AlreadyThere:
        SnapshotCopy.objects.filter(pk=row.pk).update(fault=DIFFERS)
        return False
    changes = {"objects_at": row.objects_at or timezone.now(), "lifecycle": number, "fault": ""}
    SnapshotCopy.objects.filter(pk=row.pk).update(**changes)
    return True


def _put_all(store: Store, objects: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> None:
    for key, data in objects:
        try:
            store.put_same(key, data)
        except AlreadyThere:
            raise
        except StoreError as fault:
            raise TargetTrouble(str(fault)) from fault


def _put_standing(store: Store, snapshot: Snapshot) -> None:
    """What the target had first stays: an older record of the machine opens its snapshots as well as a newer one."""
    for key, data in _standing(snapshot):
        try:
            _put_all(store, [(key, data)])
        except AlreadyThere:
            logger.warning("A standing record at a target differs from the database's.", extra={"key": key})


def _own(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    place = (snapshot.tenant_id, snapshot.vault_id, snapshot.pk)
    try:
        root = _from_home(stores.root_key(*place))
    except NotFound:
        raise RecordUnavailable("The snapshot's root is not in the home directory.") from None
    if blake3(root).digest() != bytes(snapshot.root_hash):
        raise RecordUnavailable("The snapshot's root in the home directory is damaged; it is not copied.")
    yield stores.root_key(*place), root
    yield stores.recipients_key(*place), bytes(snapshot.recipients)
    references = stores.references_key(*place)
    with suppress(NotFound):  # snapshots of earlier releases have none
        yield references, _from_home(references)


def _statement(snapshot: Snapshot) -> tuple[str, bytes]:
    place = (snapshot.tenant_id, snapshot.vault_id, snapshot.machine_id, snapshot.sequence, snapshot.pk)
    return stores.statement_key(*place), bytes(snapshot.statement)


def _standing(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    """What stands beside snapshots: the vault's record, its wrapped secrets, the machine's record."""
    vault, tenant = snapshot.vault, snapshot.tenant_id
    yield stores.vault_record_key(tenant, vault.pk, vault.record_number), bytes(vault.record)
    for secret in WrappedSecret.objects.filter(vault=vault)[:MOST_SECRETS]:
        key = stores.secret_key(tenant, vault.pk, secret.epoch, bytes(secret.recipient_key_hash))
        yield key, bytes(secret.data)
    if snapshot.machine.record:
        yield stores.machine_record_key(tenant, vault.pk, snapshot.machine_id), bytes(snapshot.machine.record)


def _lifecycle(snapshot: Snapshot, known: int) -> Iterator[tuple[int, str, bytes]]:
    """The records that come after the first `known`, in order."""
    home = stores.local_target()
    for number in range(known + 1, MOST_LIFECYCLE):
        key = stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, number)
        try:
            yield number, key, home.get(key)
        except NotFound:
            return
        except StoreError as fault:
            raise RecordUnavailable("The home directory cannot be read just now.") from fault


def _from_home(key: str) -> bytes:
    """NotFound when it is not there."""
    try:
        return stores.local_target().get(key)
    except NotFound:
        raise
    except StoreError as fault:
        raise RecordUnavailable("The home directory cannot be read just now.") from fault
