"""Snapshots again: from statements that their machine signed, roots that these name, and what became of them.

A snapshot comes back as *received* (or expired, or reclaimed): whether it is good the ordinary jobs find out, by the
packs that were read. One that is not whole in the store is *damaged*, and said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from blake3 import blake3
from django.db import transaction
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot, SnapshotCopy, SnapshotState
from backup_platform.catalog.signatures import SignatureRefused, check_statement_signature
from backup_platform.catalog.work import ask_to_complete
from backup_platform.fleet.models import Machine
from backup_platform.retention.defaults import delays_of
from backup_platform.retention.models import Expiry
from backup_platform.storage.base import NotFound
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import LifecycleRecord
from protocol.stored.recipients import decode_recipient, split_recipients
from protocol.stored.references import decode_references
from protocol.stored.statements import NO_PREVIOUS, Statement, choose_statement, decode_statement

from .fates import Fate, moment, read_fate
from .keeping import Keeper
from .report import Report
from .survey import VaultFiles


@dataclass(frozen=True, slots=True)
class Found:
    """A statement that its machine signed, with its bytes as stored."""

    statement: Statement
    data: bytes

    @property
    def snapshot_id(self) -> UUID:
        return UUID(bytes=self.statement.snapshot_id)


@dataclass
class MachineSnapshots:
    """One machine's snapshots on their way into the catalogue. Use it in the tenant's scope."""

    machine: Machine
    files: VaultFiles
    keeper: Keeper
    report: Report

    def rebuild(self) -> None:
        """Make every snapshot of the machine that is not there yet, the oldest first, and name what is missing."""
        line = self._line()
        self._tell_gaps(line)
        known = set(Snapshot.objects.filter(machine=self.machine).values_list("pk", flat=True))
        for found in line:
            if found.snapshot_id not in known:
                self._make(found)

    def _line(self) -> list[Found]:
        """One statement for each number, oldest first."""
        numbers = self.files.statements[self.machine.pk]
        line: list[Found] = []
        newer: Statement | None = None
        for number in sorted(numbers, reverse=True):
            sound = [found for snapshot, key in numbers[number] if (found := self._read(number, snapshot, key))]
            if sound:
                newer = choose_statement([found.statement for found in sound], newer)
                line.append(next(found for found in sound if found.statement is newer))
        return line[::-1]

    def _read(self, number: int, snapshot: UUID, key: str) -> Found | None:
        data = self.keeper.take(key, lambda data: blake3(data).digest()[:16] == snapshot.bytes)
        try:
            statement = decode_statement(data)
            if (statement.sequence, statement.snapshot_id) != (number, snapshot.bytes):
                raise SignatureRefused("It is another statement than the one that it is named by.")
            if (statement.vault_id, statement.machine_id) != (self.machine.vault_id.bytes, self.machine.pk.bytes):
                raise SignatureRefused("It belongs to another machine or vault.")
            check_statement_signature(statement, bytes(self.machine.identity_key))
        except (FormatError, SignatureRefused) as fault:
            self.report.fault("statement", key, f"It is not used: {fault}")
            return None
        return Found(statement, data)

    def _tell_gaps(self, line: list[Found]) -> None:
        """Statements never expire: a number that is missing, or one that does not follow the one before, is damage."""
        expected, previous = 1, NO_PREVIOUS
        for found in line:
            statement = found.statement
            if statement.sequence > expected:
                numbers = f"{expected} to {statement.sequence - 1}" if statement.sequence > expected + 1 else expected
                self.report.fault("machine", self.machine.name, f"Statements of number {numbers} are missing.")
            elif statement.previous != previous:
                sentence = f"Statement {statement.sequence} follows another one than the one that is there."
                self.report.fault("machine", self.machine.name, sentence)
            expected, previous = statement.sequence + 1, statement.digest

    def _make(self, found: Found) -> None:
        fate = read_fate(self.files, found.snapshot_id, self.keeper)
        if fate.fault:
            self.report.fault("snapshot", found.snapshot_id, fate.fault)
        objects = self._objects(found, may_be_gone=fate.expiry is not None)
        with transaction.atomic():
            snapshot = Snapshot.objects.create(**self._row(found, fate, objects))
            self._note_copy(snapshot)
            if snapshot.state == SnapshotState.EXPIRED:
                self._note_expiry(snapshot)
            if snapshot.state == SnapshotState.RECEIVED:
                ask_to_complete(snapshot)
        if objects.fault and snapshot.state == SnapshotState.DAMAGED:
            self.report.fault("snapshot", snapshot.pk, objects.fault)
        self.report.count(f"snapshots {snapshot.state}")

    def _row(self, found: Found, fate: Fate, objects: Objects) -> dict[str, Any]:
        statement = found.statement
        return {
            "id": found.snapshot_id,
            "tenant_id": self.machine.tenant_id,
            "vault_id": self.machine.vault_id,
            "machine": self.machine,
            "sequence": statement.sequence,
            "statement": found.data,
            "statement_digest": statement.digest,
            "root_hash": statement.root_hash,
            "root_bytes": objects.root_bytes,
            "recipients": objects.recipients,
            "blocks": objects.blocks,
            "statistics": objects.counts,
            "machine_time": moment(statement.time),
            "received_at": fate.received_at or moment(statement.time),
            **_state(_counting(fate, objects), objects),
        }

    def _note_copy(self, snapshot: Snapshot) -> None:
        """Its objects lie at the source, if that is not the home store: whatever copies on goes from there."""
        if self.keeper.source.is_home:
            return
        SnapshotCopy.objects.create(
            tenant_id=snapshot.tenant_id,
            snapshot=snapshot,
            target=self.keeper.source.target,
            objects_at=timezone.now(),
            lifecycle=self.files.lifecycle.get(snapshot.pk, 0),
        )

    def _note_expiry(self, snapshot: Snapshot) -> None:
        """It can be brought back for all of its days again: while there was no platform, nobody could."""
        now = timezone.now()
        Expiry.objects.create(
            tenant_id=snapshot.tenant_id,
            snapshot=snapshot,
            at=snapshot.expired_at or now,
            by="",
            because=snapshot.expired_because,
            until=now + delays_of(snapshot.tenant_id).undelete,
        )

    def _objects(self, found: Found, *, may_be_gone: bool) -> Objects:
        """Root, recipient records and reference list, each checked against the statement."""
        objects = Objects()
        there = self.files.of_snapshots.get(found.snapshot_id, set())
        if may_be_gone and "root" not in there:
            objects.gone = True
            return objects
        ids = (self.files.tenant_id, self.files.vault_id, found.snapshot_id)
        try:
            statement = found.statement
            root = self.keeper.take(stores.root_key(*ids), lambda data: blake3(data).digest() == statement.root_hash)
            objects.root_bytes = len(root)
            objects.recipients = self.keeper.take(
                stores.recipients_key(*ids), lambda data: _are_of(data, statement.root_hash)
            )
            listed = decode_references(
                self.keeper.take(stores.references_key(*ids), lambda data: _lists(data, statement.blocks_hash))
            )
        except NotFound as fault:
            objects.fault = f"An object of it is not in the store: {str(fault).split(' ', maxsplit=1)[0]}"
        except FormatError as fault:
            objects.fault = f"Its list of reference blocks is damaged: {fault.why}."
        else:
            objects.take(listed.blocks, listed.counts)
            if blake3(root).digest() != found.statement.root_hash:
                objects.fault = "Its root is not the one that the machine signed for."
            elif blake3(listed.blocks).digest() != found.statement.blocks_hash:
                objects.fault = "Its list of reference blocks is not the one that the machine signed for."
                objects.blocks = b""
        return objects


@dataclass
class Objects:
    """What the store holds of a snapshot besides its statement. `gone`: reclaimed, as its records say."""

    root_bytes: int = 0
    recipients: bytes = b""
    blocks: bytes = b""
    counts: dict[str, int | float] | None = None
    fault: str = ""
    gone: bool = False

    def __post_init__(self) -> None:
        self.counts = self.counts or {}

    def take(self, blocks: bytes, counts: dict[str, int | float]) -> None:
        """Keep what a reference list says."""
        self.blocks, self.counts = blocks, counts


def _are_of(recipients: bytes, root_hash: bytes) -> bool:
    """Whether these are recipient records of that root."""
    try:
        return all(decode_recipient(record).root_hash == root_hash for record in split_recipients(recipients))
    except FormatError:
        return False


def _lists(references: bytes, blocks_hash: bytes) -> bool:
    """Whether this is the reference list that a statement names."""
    try:
        return blake3(decode_references(references).blocks).digest() == blocks_hash
    except FormatError:
        return False


def _counting(fate: Fate, objects: Objects) -> LifecycleRecord | None:
    """The expiry that counts. Where a record after it cannot be read, somebody may have brought the snapshot back: what
    is there whole then counts as there."""
    return None if fate.fault and not objects.gone else fate.expiry


def _state(expiry: LifecycleRecord | None, objects: Objects) -> dict[str, Any]:
    """The state that the records and the objects speak for."""
    if expiry is None:
        damaged = bool(objects.fault)
        return {"state": SnapshotState.DAMAGED if damaged else SnapshotState.RECEIVED, "fault": objects.fault[:500]}
    return {
        "state": SnapshotState.RECLAIMED if objects.gone else SnapshotState.EXPIRED,
        "expired_at": moment(expiry.time),
        "expired_because": expiry.detail.get("because", "")[:300],
        "state_before": SnapshotState.DAMAGED if objects.fault else SnapshotState.RECEIVED,
        "fault": objects.fault[:500],
    }
