"""Completion: a received snapshot becomes *verified*, or *damaged*, and says which chunk numbers it needs.

Only live rows of the index count, and a row gets there only from a pack that was re-read. The state is written under
the vault's lock and only if no damage was found in the vault since the look began (its generation), so a snapshot
cannot be called good behind the back of whoever finds it broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from blake3 import blake3
from django.utils import timezone
from pyroaring import BitMap64

from backup_platform.catalog import stores
from backup_platform.catalog.chunk_index import ChunkState, batches, binary_cursor, vault_lock
from backup_platform.catalog.errors import InvalidCommit
from backup_platform.catalog.models import Pack, Snapshot, SnapshotState
from backup_platform.catalog.needs import block_ids, read_blocks
from backup_platform.catalog.present import MAX_QUESTION, missing_ids
from backup_platform.storage.base import NotFound
from backup_platform.vaults.models import Vault

LOOK_SQL = "SELECT id, number, length, state FROM catalog_chunk WHERE vault = %s AND id = ANY(%b::bytea[])"


class Outcome(StrEnum):
    """What a look at a snapshot ended in."""

    VERIFIED = "verified"
    DAMAGED = "damaged"
    WAITING = "waiting"
    """Packs are not through yet, or damage was found meanwhile: look again."""
    NOTHING = "nothing"
    """There is no such snapshot, or its state is final."""


@dataclass(slots=True)
class _Needs:
    numbers: BitMap64 = field(default_factory=BitMap64)
    stored_bytes: int = 0
    waiting: bool = False
    fault: str = ""


def complete_snapshot(snapshot_id: UUID, heartbeat: Callable[[], object] = bool) -> Outcome:
    """Decide what a received or damaged snapshot is. Twice is as good as once; `heartbeat` is called at every block.

    Raises StoreUnavailable or RecordUnavailable when something cannot be read just now: nothing is decided then.
    """
    unsettled = [SnapshotState.RECEIVED, SnapshotState.DAMAGED]
    snapshot = Snapshot.objects.select_related("vault").filter(pk=snapshot_id, state__in=unsettled).first()
    if snapshot is None:
        return Outcome.NOTHING
    if Pack.objects.filter(session=snapshot.session_id, deduplicated_at__isnull=True).exists():
        return Outcome.WAITING
    needs = _look_up(snapshot, heartbeat)
    if needs.waiting and not needs.fault:
        return Outcome.WAITING
    needs.fault = needs.fault or check_snapshot_objects(snapshot)
    return _settle(snapshot, needs)


def check_snapshot_objects(snapshot: Snapshot) -> str:
    """Re-read a snapshot's root, recipient records and statement from the local target; "" or what is wrong."""
    target = stores.local_target()
    tenant, vault, pk = snapshot.tenant_id, snapshot.vault_id, snapshot.pk
    statement = stores.statement_key(tenant, vault, snapshot.machine_id, snapshot.sequence, pk)
    try:
        if blake3(target.get(stores.root_key(tenant, vault, pk))).digest() != bytes(snapshot.root_hash):
            return "Its root in the store is damaged."
        if target.get(statement) != bytes(snapshot.statement):
            return "Its statement in the store is damaged."
        if target.get(stores.recipients_key(tenant, vault, pk)) != bytes(snapshot.recipients):
            return "Its recipient records in the store are damaged."
    except NotFound as fault:
        return f"An object of it is not in the store: {str(fault).rsplit('/', 1)[-1]}"
    return ""


def _look_up(snapshot: Snapshot, heartbeat: Callable[[], object]) -> _Needs:
    needs = _Needs()
    vault_number = snapshot.vault.number
    blocks = list(dict.fromkeys(block_ids(snapshot)))
    _add(needs, vault_number, blocks)
    if needs.waiting or needs.fault:
        return needs
    try:
        for block, ids in read_blocks(vault_number, blocks):
            if ids is None:
                needs.fault = f"Its reference block {block.hex()[:16]}… cannot be read."
                return needs
            heartbeat()
            _add(needs, vault_number, ids)
    except InvalidCommit as fault:
        needs.fault = str(fault)
    return needs


def _add(needs: _Needs, vault_number: int, ids: Sequence[bytes]) -> None:
    """Add these ids' numbers and sizes; what the index lacks waits as an arrival, or is damage."""
    for batch in batches(ids, MAX_QUESTION):
        rows = _rows(vault_number, batch)
        absent = [record_id for record_id in batch if record_id not in rows]
        for number, length in rows.values():
            if number not in needs.numbers:
                needs.numbers.add(number)
                needs.stored_bytes += length
        if absent:
            lost = missing_ids(vault_number, absent)
            needs.waiting = True
            if lost:
                needs.fault = f"{len(lost)} of the records that it needs are damaged or lost."
                return


def _rows(vault_number: int, ids: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
    with binary_cursor() as cursor:
        cursor.execute(LOOK_SQL, [vault_number, list(ids)], binary=True)
        return {row[0]: (row[1], row[2]) for row in cursor if row[3] == ChunkState.LIVE}


def _settle(snapshot: Snapshot, needs: _Needs) -> Outcome:
    with vault_lock(snapshot.vault.number, shared=True):
        if Vault.objects.get(pk=snapshot.vault_id).generation != snapshot.vault.generation:
            return Outcome.WAITING
        same = Snapshot.objects.filter(pk=snapshot.pk, state=snapshot.state)
        if needs.fault:
            same.update(state=SnapshotState.DAMAGED, fault=needs.fault[:500])
            return Outcome.DAMAGED
        needs.numbers.run_optimize()
        good = same.update(
            state=SnapshotState.VERIFIED,
            fault="",
            verified_at=timezone.now(),
            bitmap=needs.numbers.serialize(),
            cardinality=len(needs.numbers),
            stored_bytes=needs.stored_bytes,
        )
        return Outcome.VERIFIED if good else Outcome.NOTHING
