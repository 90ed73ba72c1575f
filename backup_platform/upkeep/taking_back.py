"""Small objects that belong to no snapshot in use: of commits that were refused late, and roots of reclaimed snapshots.

Rows say which they are; no store is listed. A statement and its lifecycle records stay for ever once a snapshot was
committed; its root, recipient records and list of references go with what they open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Publication, SessionState, Snapshot, SnapshotCopy, SnapshotState
from backup_platform.storage.base import StoreError
from backup_platform.targets.opening import SecretUnreadable, open_store
from backup_platform.targets.queries import target_by_id
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

PAGE = 200


def take_back_refused(vault: Vault, turn: Turn) -> int:
    """Remove the objects of commits whose session ended without their snapshot; how many commits those were."""
    over = Publication.objects.filter(vault=vault).exclude(session__state=SessionState.OPEN)
    return _each(over.order_by("at").values_list("pk", flat=True)[:PAGE], _take_back, turn)


def remove_roots(vault: Vault, turn: Turn) -> int:
    """Remove root, recipients and list of references of reclaimed snapshots at every target; how many are gone."""
    leaving = Snapshot.objects.filter(vault=vault, state=SnapshotState.RECLAIMED, objects_gone_at__isnull=True)
    ids = list(leaving.order_by("expired_at").values_list("pk", flat=True)[:PAGE])
    elsewhere = set(SnapshotCopy.objects.filter(snapshot__in=ids).values_list("snapshot_id", flat=True))
    here = [pk for pk in ids if pk not in elsewhere]
    return _remove_at_home(vault, here, turn) + _each([pk for pk in ids if pk in elsewhere], _remove_root, turn)


def _remove_at_home(vault: Vault, ids: Sequence[UUID], turn: Turn) -> int:
    """Of snapshots that are nowhere else: in one go; if that fails, each for itself, so that one bad file is one."""
    if not ids:
        return 0
    turn.check()
    try:
        stores.local_target().delete_all(key for pk in ids for key in _keys(vault.tenant_id, vault.pk, pk))
    except StoreError:
        return _each(ids, _remove_root, turn)
    return Snapshot.objects.filter(pk__in=ids, state=SnapshotState.RECLAIMED).update(objects_gone_at=timezone.now())


def _each(ids: Iterable[UUID], act: Callable[[UUID], bool], turn: Turn) -> int:
    done = 0
    for pk in ids:
        turn.check()
        done += act(pk)
    return done


def _take_back(pk: UUID) -> bool:
    """Under the row's lock: a later commit of the same objects waits, finds them gone, and puts them again."""
    with transaction.atomic():
        row = Publication.objects.select_for_update(of=("self",)).select_related("session").filter(pk=pk).first()
        if row is None or row.session.state == SessionState.OPEN:
            return False
        committed = Snapshot.objects.filter(pk=pk).exists()
        if not committed:
            statement = stores.statement_key(row.tenant_id, row.vault_id, row.machine_id, row.sequence, pk)
            received = stores.lifecycle_key(row.tenant_id, row.vault_id, pk, 1)
            try:
                stores.local_target().delete_all([statement, received, *_keys(row.tenant_id, row.vault_id, pk)])
            except StoreError:
                return False
        row.delete()
        return not committed


def _remove_root(pk: UUID) -> bool:
    snapshot = Snapshot.objects.only("tenant_id", "vault_id").get(pk=pk)
    keys = _keys(snapshot.tenant_id, snapshot.vault_id, pk)
    targets = SnapshotCopy.objects.filter(snapshot=pk).values_list("target_id", flat=True)
    try:
        stores.local_target().delete_all(keys)
        for target in map(target_by_id, targets):
            if not target.home:
                open_store(target).delete_all(keys)
    except (StoreError, SecretUnreadable):
        return False
    gone = Snapshot.objects.filter(pk=pk, state=SnapshotState.RECLAIMED)
    return bool(gone.update(objects_gone_at=timezone.now()))


def _keys(tenant_id: UUID, vault_id: UUID, pk: UUID) -> list[str]:
    return [make(tenant_id, vault_id, pk) for make in (stores.root_key, stores.recipients_key, stores.references_key)]
