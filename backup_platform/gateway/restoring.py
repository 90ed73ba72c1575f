"""Restores: lists, proofs of the kit, roots, and the plan of a FETCH.

Knowing an id is never a right to read: a record is given only as part of a reference block of a snapshot that the
caller may read. A snapshot of another tenant, vault or machine looks exactly like one that does not exist.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from uuid import UUID

from blake3 import blake3

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.errors import ObjectLost
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.object_reading import read_object
from backup_platform.catalog.present import Place, find_places
from backup_platform.catalog.reading import Found, PackReader, is_block
from backup_platform.catalog.stores import root_key
from backup_platform.fleet import access
from backup_platform.fleet.models import Machine, MachineState
from backup_platform.gateway.caller import Caller, Scope
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.handlers import microseconds, split
from backup_platform.retention.fates import GONE
from backup_platform.vaults.models import Vault
from backup_platform.vaults.proofs import verify_kit_proof
from protocol.stored.blocks import block_contains, decode_block
from protocol.stored.chunks import MAX_SEALED
from protocol.stored.recipients import split_recipients
from protocol.stored.roots import MAX_ROOT
from protocol.stored.vault_records import decode_vault_record
from protocol.wire import messages
from protocol.wire.errors import FailureCode
from protocol.wire.messages.restore import SnapshotItem

NOT_FOUND = "There is no such snapshot."
WRITE_ONLY = "This machine may only write backups. Reading them needs the kit: use --kit."
NEEDS_PROOF = "Another machine's snapshots need the proof of the kit: use --kit."
DAMAGED = "A part of this snapshot is damaged on the server."


def list_snapshots(scope: Scope, message: messages.List) -> messages.Snapshots:
    """A page of a machine's snapshots, newest first, without those that have expired, reclaimed or not."""
    machine = listed_machine(scope, message.machine_name)
    found = Snapshot.objects.filter(machine=machine).exclude(state__in=GONE).order_by("-received_at", "-pk")
    if message.before:
        found = found.filter(received_at__lt=_moment(message.before))
    page = list(found.defer("blocks", "bitmap")[: message.limit + 1])
    records = [bytes(machine.record)] if machine.record else []
    items = [_item(snapshot, machine) for snapshot in page[: message.limit]]
    return messages.Snapshots(items=items, machine_records=records, more=len(page) > message.limit)


def prove(caller: Caller, message: messages.Prove, nonce: bytes, certificate_hash: bytes) -> messages.Proved:
    """Check a proof of the kit for one machine of the caller's vault; both outcomes are audited."""
    vault = Vault.objects.get(pk=caller.vault_id)
    machine = Machine.objects.filter(vault=vault, name=message.scope_name).first()
    proved = verify_kit_proof(
        decode_vault_record(bytes(vault.record)).body.signing_key,
        nonce=nonce,
        certificate_hash=certificate_hash,
        caller=caller.machine_id.bytes,
        scope=blake3(message.scope_name.encode()).digest()[:16],
        signature=message.signature,
    )
    record_audit(
        "restore.proved" if proved else "restore.proof_refused",
        actor=f"machine {caller.name}",
        object=f"machine:{machine.pk}" if machine else message.scope_name,
        tenant=caller.tenant_id,
        caller=caller.machine_id,
    )
    if not proved:
        raise Refusal(FailureCode.FORBIDDEN, "This is not a proof of this vault's kit.")
    if machine is None:
        raise Refusal(FailureCode.NOT_FOUND, "There is no machine of this name in the vault.")
    return messages.Proved(machine_id=machine.pk.bytes)


def read_root(scope: Scope, message: messages.Root) -> tuple[messages.RootIs, bytes]:
    """A snapshot's statement, recipient records, machine record and blocks, and the root file itself."""
    snapshot = permitted_snapshot(scope, message.snapshot)
    root = _root_of(snapshot)
    if snapshot.machine_id != scope.caller.machine_id:
        _audit_other(scope.caller, snapshot)
    answer = messages.RootIs(
        statement=bytes(snapshot.statement),
        recipients=split_recipients(bytes(snapshot.recipients)),
        machine_record=bytes(snapshot.machine.record),
        blocks=bytes(snapshot.blocks),
    )
    return answer, root


def _root_of(snapshot: Snapshot) -> bytes:
    """The root from whichever place has the one that was committed. Raises RecordUnavailable when that is not known."""
    key, digest = root_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk), bytes(snapshot.root_hash)
    try:
        return read_object(snapshot, key, lambda data: blake3(data).digest() == digest, MAX_ROOT)
    except ObjectLost:
        raise Refusal(FailureCode.DAMAGED, DAMAGED) from None


def permitted_snapshot(scope: Scope, snapshot_id: bytes) -> Snapshot:
    """The snapshot, if this connection may read it. Refusal FORBIDDEN for the write-only, NOT_FOUND for all else.

    Whether the machine may still connect is asked each time; the snapshot's row is remembered for a second, because a
    restore asks for its chunks a few at a time.
    """
    _check_welcome(scope.caller)
    snapshot = scope.recent.get(snapshot_id)
    if snapshot is None:
        snapshot = _find_permitted(scope, snapshot_id)
        scope.recent.keep(snapshot_id, snapshot)
    return snapshot


def _check_welcome(caller: Caller) -> None:
    """A revocation ends a restore that has begun. One small query while nothing is wrong."""
    if not Machine.objects.filter(pk=caller.machine_id, state=MachineState.ACTIVE).exists():
        access.authenticate(caller.identity_hash)


def _find_permitted(scope: Scope, snapshot_id: bytes) -> Snapshot:
    readable = scope.readable()
    if not readable:
        raise Refusal(FailureCode.FORBIDDEN, WRITE_ONLY)
    found = (
        Snapshot.objects.select_related("machine")
        .defer("bitmap")
        .filter(pk=UUID(bytes=snapshot_id), vault_id=scope.caller.vault_id, machine_id__in=readable)
    )
    snapshot: Snapshot | None = found.exclude(state__in=GONE).first()
    if snapshot is None:
        raise Refusal(FailureCode.NOT_FOUND, NOT_FOUND)
    return snapshot


class BlockCache:
    """Reference blocks that restores are reading, checked against their ids; the least recently used go first."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._held = 0
        self._blocks: OrderedDict[tuple[int, bytes], bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, vault_number: int, name: bytes) -> bytes | None:
        """A block of this vault, from memory or from its pack; None when no whole copy can be read."""
        key = (vault_number, name)
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        found = next(iter(PackReader(vault_number, is_block).read([name])))
        if found.record is None:
            return None
        decode_block(found.record.sealed)
        self._keep(key, found.record.sealed)
        return found.record.sealed

    def _keep(self, key: tuple[int, bytes], block: bytes) -> None:
        with self._lock:
            if key in self._blocks:
                return
            self._blocks[key] = block
            self._held += len(block)
            while self._held > self._bound:
                self._held -= len(self._blocks.popitem(last=False)[1])


@dataclass(frozen=True, slots=True)
class Batch:
    """Records to read together, in the order of their places, and the bytes that they may hold."""

    places: dict[bytes, Place | None]
    bytes: int


def plan_fetch(scope: Scope, message: messages.Fetch, cache: BlockCache, batch_bytes: int) -> list[Batch]:
    """The ids to read, in batches by place on disk.

    Raises Refusal unless the block belongs to a permitted snapshot and every id to the block.
    """
    snapshot = permitted_snapshot(scope, message.snapshot)
    if message.block not in split(bytes(snapshot.blocks)):
        raise Refusal(FailureCode.NOT_FOUND, "This reference block does not belong to the snapshot.")
    if not message.ids:
        places = find_places(scope.caller.vault_number, [message.block])
        return [Batch({message.block: places.get(message.block)}, MAX_SEALED)]
    block = cache.get(scope.caller.vault_number, message.block)
    if block is None:
        raise Refusal(FailureCode.DAMAGED, DAMAGED)
    wanted = list(dict.fromkeys(split(message.ids)))
    if not all(block_contains(block, record_id) for record_id in wanted):
        raise Refusal(FailureCode.NOT_FOUND, "Not all of these chunks belong to the reference block.")
    return list(_batches(scope.caller.vault_number, wanted, batch_bytes))


def read_batch(caller: Caller, message: messages.Fetch, batch: Batch) -> list[Found]:
    """These records of a planned fetch, each whole or None; a block is only what its name promises."""
    reader = PackReader(caller.vault_number) if message.ids else PackReader(caller.vault_number, is_block)
    known = {record_id: place for record_id, place in batch.places.items() if place is not None}
    return list(reader.read_at(list(batch.places), known))


def _batches(vault_number: int, wanted: list[bytes], batch_bytes: int) -> Iterator[Batch]:
    places = find_places(vault_number, wanted)
    ordered = sorted(places, key=lambda record_id: (places[record_id].pack_id, places[record_id].offset))
    ordered += [record_id for record_id in wanted if record_id not in places]
    batch: dict[bytes, Place | None] = {}
    held = 0
    for record_id in ordered:
        place = places.get(record_id)
        size = place.length if place is not None else MAX_SEALED
        if batch and held + size > batch_bytes:
            yield Batch(batch, held)
            batch, held = {}, 0
        batch[record_id] = place
        held += size
    if batch:
        yield Batch(batch, held)


def listed_machine(scope: Scope, name: str) -> Machine:
    """The machine whose list the caller asks for: its own, or one that it has proved the kit for. Raises Refusal."""
    caller = scope.caller
    if name in ("", caller.name):
        machine_id = caller.machine_id
    elif name in scope.proved:
        machine_id = scope.proved[name]
    else:
        raise Refusal(FailureCode.FORBIDDEN, NEEDS_PROOF)
    machine: Machine = Machine.objects.get(pk=machine_id)
    return machine


def _item(snapshot: Snapshot, machine: Machine) -> SnapshotItem:
    counted = snapshot.statistics
    return SnapshotItem(
        id=snapshot.pk.bytes,
        machine_id=machine.pk.bytes,
        machine_name=machine.name,
        sequence=snapshot.sequence,
        state=snapshot.state,
        received_at=microseconds(snapshot.received_at),
        machine_time=microseconds(snapshot.machine_time),
        statement=bytes(snapshot.statement),
        **{name: int(counted.get(name, 0)) for name in ("files", "bytes", "bytes_sent", "errors")},
    )


def _audit_other(caller: Caller, snapshot: Snapshot) -> None:
    record_audit(
        "restore.root_given",
        actor=f"machine {caller.name}",
        object=f"snapshot:{snapshot.pk}",
        tenant=caller.tenant_id,
        caller=caller.machine_id,
        machine=snapshot.machine_id,
    )


def _moment(microsecond: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(microsecond, LATEST))


LATEST = 2**53
"""Microseconds of the year 2255: beyond it there is nothing to list, and datetime would overflow later on."""
