"""Completion: a received snapshot becomes *verified*, or *damaged*, and says which chunk numbers it needs.

Only live rows of the index count, and a row gets there only from a pack that was re-read. The state is written under
the vault's lock and only if no damage was found in the vault since the look began (its generation), so a snapshot
cannot be called good behind the back of whoever finds it broken. Condemned rows that it needs are revived there.

With its bitmap a snapshot stands for its needs itself (law 3), and its session ends. A damaged one gets a bitmap too,
where all that it needs has a number; one whose needs are not known has none, and holds back reclaim.
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
from backup_platform.catalog.models import Pack, Session, SessionState, Snapshot, SnapshotState
from backup_platform.catalog.needs import block_ids, read_blocks, revive_numbers
from backup_platform.catalog.present import MAX_QUESTION, missing_ids
from backup_platform.storage.base import NotFound
from backup_platform.vaults.models import Vault
from protocol.stored.errors import FormatError
from protocol.stored.statements import decode_statement

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
    """`numbers` of everything that has one, whatever its state; `unknown`: something that is needed has none."""

    numbers: BitMap64 = field(default_factory=BitMap64)
    condemned: BitMap64 = field(default_factory=BitMap64)
    stored_bytes: int = 0
    waiting: bool = False
    unknown: bool = False
    fault: str = ""

    def as_columns(self) -> dict[str, object]:
        """What of it the snapshot's row keeps; nothing while it is not all known."""
        if self.unknown:
            return {}
        self.numbers.run_optimize()
        bitmap = self.numbers.serialize()
        return {"bitmap": bitmap, "cardinality": len(self.numbers), "stored_bytes": self.stored_bytes}


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
    if not _lists_what_was_signed(snapshot):
        needs.unknown = True
        needs.fault = "Its list of reference blocks is not the one that the machine signed for."
        return needs
    vault_number = snapshot.vault.number
    blocks = list(dict.fromkeys(block_ids(snapshot)))
    _add(needs, vault_number, blocks)
    if needs.waiting and not needs.fault:
        return needs
    asked: list[bytes] = []  # blocks of small trees list few ids each: a question takes those of many
    try:
        for block, ids in read_blocks(vault_number, blocks):
            if ids is None:
                needs.unknown = True
                needs.fault = needs.fault or f"Its reference block {block.hex()[:16]}… cannot be read."
                return needs
            heartbeat()
            asked += ids
            if len(asked) >= MAX_QUESTION:
                _add(needs, vault_number, asked)
                asked.clear()
        _add(needs, vault_number, asked)
    except InvalidCommit as fault:
        needs.unknown = True
        needs.fault = str(fault)
    return needs


def _lists_what_was_signed(snapshot: Snapshot) -> bool:
    """A rebuilt catalogue may lack the list: nothing needed would then be nothing missing."""
    try:
        signed = decode_statement(bytes(snapshot.statement)).blocks_hash
    except FormatError:
        return False
    return blake3(bytes(snapshot.blocks)).digest() == signed


def _add(needs: _Needs, vault_number: int, ids: Sequence[bytes]) -> None:
    """Add these ids' numbers and sizes; what the index lacks waits as an arrival, or is damage."""
    for batch in batches(ids, MAX_QUESTION):
        rows = _rows(vault_number, batch)
        for number, length, state in rows.values():
            if number not in needs.numbers:
                needs.numbers.add(number)
                needs.stored_bytes += length
            if state == ChunkState.CONDEMNED:
                needs.condemned.add(number)
        absent = [i for i in batch if i not in rows or rows[i][2] == ChunkState.DAMAGED]
        if absent:
            needs.waiting = True
            needs.unknown = needs.unknown or any(record_id not in rows for record_id in absent)
            lost = missing_ids(vault_number, absent)
            if lost:
                needs.fault = needs.fault or f"{len(lost)} of the records that it needs are damaged or lost."


def _rows(vault_number: int, ids: Sequence[bytes]) -> dict[bytes, tuple[int, int, int]]:
    with binary_cursor() as cursor:
        cursor.execute(LOOK_SQL, [vault_number, list(ids)], binary=True)
        return {row[0]: (row[1], row[2], row[3]) for row in cursor}


def _settle(snapshot: Snapshot, needs: _Needs) -> Outcome:
    with vault_lock(snapshot.vault.number, shared=True):
        if Vault.objects.get(pk=snapshot.vault_id).generation != snapshot.vault.generation:
            return Outcome.WAITING
        same = Snapshot.objects.filter(pk=snapshot.pk, state=snapshot.state)
        columns = needs.as_columns()
        if needs.fault:
            settled = same.update(state=SnapshotState.DAMAGED, fault=needs.fault[:500], **columns)
        else:
            now = timezone.now()
            settled = same.update(state=SnapshotState.VERIFIED, fault="", verified_at=now, **columns)
        if not settled:
            return Outcome.NOTHING
        if columns:
            revive_numbers(snapshot.vault.number, needs.condemned)
            _end_session(snapshot)
        return Outcome.DAMAGED if needs.fault else Outcome.VERIFIED


def _end_session(snapshot: Snapshot) -> None:
    """Its bitmap is stored in this transaction: from now on the snapshot itself holds what it needs."""
    committed = Session.objects.filter(snapshots=snapshot.pk, state=SessionState.COMMITTED)
    committed.update(state=SessionState.ENDED)
