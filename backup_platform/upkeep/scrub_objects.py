"""Scrubbing what stands beside the packs: a snapshot's objects, a vault's records.

Each object is read at every place that should have it. What is damaged is made again from the catalogue's row where the
row holds it (statement, recipients, references, receipt, standing records), else from another place (the root).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from blake3 import blake3
from django.utils import timezone

from backup_platform.audit.services import record
from backup_platform.catalog import stores
from backup_platform.catalog.completion import check_snapshot_objects, complete_snapshot
from backup_platform.catalog.damage import GOOD
from backup_platform.catalog.models import Snapshot, SnapshotCopy, SnapshotState
from backup_platform.catalog.proposals import known_counts
from backup_platform.catalog.scrubbing import COMMITTED, standing_records
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, Store, StoreError, StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.storage.local_leftovers import Leftovers, remove_leftovers
from backup_platform.targets.models import Target
from backup_platform.targets.opening import open_store
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.heal_places import READ_FROM, usual_key
from backup_platform.upkeep.heal_standing import stand_in
from backup_platform.upkeep.models import FindingKind, ScrubMark
from backup_platform.upkeep.scrub_findings import close_healed, note_finding, note_healed, note_lost
from backup_platform.upkeep.scrub_lifecycle import later_records
from backup_platform.upkeep.scrub_wanted import Wanted
from backup_platform.vaults.models import Vault
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle
from protocol.stored.references import ReferenceList, decode_references

BROUGHT_BACK = "by whoever brought the right object back"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that was not right at a place: `here` is this host, `fault` for people, healed or not."""

    name: str
    place: str
    here: bool
    fault: str
    healed: bool = False


@dataclass(slots=True)
class LookedAt:
    """What a look at objects found: how many there were, what was not right, what could not be read just now."""

    objects: int = 0
    seen: list[Seen] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    leftovers: int = 0
    leftover_bytes: int = 0
    """Of files that a power cut left behind, and that were removed."""


@dataclass(frozen=True, slots=True)
class _Somewhere:
    """A store, and the target that it is; None: the home directory."""

    target: Target | None
    store: Store

    @property
    def name(self) -> str:
        return self.target.name if self.target else "this server"


def scrub_snapshot(snapshot_id: UUID) -> LookedAt:
    """Read a snapshot's objects everywhere, and heal what can be. What cannot be read just now is in `unread`."""
    found = Snapshot.objects.select_related("vault").defer("bitmap")
    snapshot = found.filter(pk=snapshot_id, state__in=COMMITTED).first()
    if snapshot is None:
        return LookedAt()
    result = LookedAt()
    there = SnapshotCopy.objects.filter(snapshot=snapshot, objects_at__isnull=False, target__state__in=READ_FROM)
    copies = list(there.select_related("target"))
    places = list(_places([copy.target for copy in copies], result))
    _scrub(list(_of_snapshot(snapshot)), places, f"snapshot:{snapshot.pk}", snapshot.tenant_id, FindingKind.OBJECT,
           result)  # fmt: skip
    _scrub_later_records(snapshot, places, {copy.target_id: copy.lifecycle for copy in copies}, result)
    _settle(snapshot)
    if not result.unread:
        mark = {"tenant_id": snapshot.tenant_id, "checked_at": timezone.now()}
        ScrubMark.objects.update_or_create(snapshot=snapshot, defaults=mark)
    return result


def _scrub_later_records(snapshot: Snapshot, places: list[_Somewhere], held: dict[UUID, int], result: LookedAt) -> None:
    """The lifecycle records after the receipt: at home all of them, at a target as many as were copied there."""
    subject, home = f"snapshot:{snapshot.pk}", places[0]
    try:
        for one in later_records(snapshot, _receipt(snapshot), home.store):
            having = [at for at in places if at.target is None or held.get(at.target.pk, 0) >= one.number]
            _scrub([one.wanted], having, subject, snapshot.tenant_id, FindingKind.OBJECT, result)
    except StoreError as fault:
        result.unread.append(f"{home.name}: {fault}")


def scrub_vault(vault_id: UUID, heartbeat: Callable[[], object] = bool) -> LookedAt:
    """Read a vault's standing records everywhere: its own record, wrapped secrets, machine records.

    Leftovers of power cuts in its folders go as well; `heartbeat` is called meanwhile, and may raise to stop.
    """
    vault = Vault.objects.filter(pk=vault_id).first()
    if vault is None or not Snapshot.objects.filter(vault=vault).exists():
        return LookedAt()
    result = LookedAt()
    wanted = [Wanted(key, _equals(data), data) for key, data in standing_records(vault)]
    holding = SnapshotCopy.objects.filter(snapshot__vault=vault, objects_at__isnull=False, target__state__in=READ_FROM)
    newest = holding.select_related("target").order_by("target_id", "-pk").distinct("target_id")
    places = list(_places([copy.target for copy in newest], result))
    _scrub(wanted, places, f"vault:{vault.pk}", vault.tenant_id, FindingKind.RECORD, result)
    for place in places:
        _tidy(vault, place, result, heartbeat)
    if not result.unread:
        mark = {"tenant_id": vault.tenant_id, "checked_at": timezone.now()}
        ScrubMark.objects.update_or_create(vault=vault, defaults=mark)
    return result


def _tidy(vault: Vault, place: _Somewhere, result: LookedAt, heartbeat: Callable[[], object]) -> None:
    """Remove what power cuts left in the vault's folders of a directory, and write down how much it was."""
    if not isinstance(place.store, LocalStore):
        return
    found = Leftovers()
    try:
        remove_leftovers(place.store, f"{vault.tenant_id.hex}/{vault.pk.hex}", found, heartbeat=heartbeat)
    except StoreError as fault:
        result.unread.append(f"{place.name}: {fault}")
    except TurnOver:
        pass  # the next look at the vault goes on
    if found.files:
        result.leftovers += found.files
        result.leftover_bytes += found.bytes
        record("store.leftovers_removed", actor="scrub", object=f"vault:{vault.pk}", tenant=vault.tenant_id,
               place=place.name, files=found.files, bytes=found.bytes)  # fmt: skip


def _places(targets: Iterable[Target], result: LookedAt) -> Iterator[_Somewhere]:
    yield _Somewhere(None, stores.local_target())
    for target in targets:
        try:
            yield _Somewhere(target, open_store(target))
        except (StoreUnavailable, SecretUnreadable) as fault:
            result.unread.append(f"{target.name}: {fault}")


def _of_snapshot(snapshot: Snapshot) -> Iterator[Wanted]:
    tenant, vault, pk = snapshot.tenant_id, snapshot.vault_id, snapshot.pk
    root_hash = bytes(snapshot.root_hash)
    yield Wanted(stores.root_key(tenant, vault, pk), lambda data: blake3(data).digest() == root_hash)
    recipients, statement = bytes(snapshot.recipients), bytes(snapshot.statement)
    yield Wanted(stores.recipients_key(tenant, vault, pk), _equals(recipients), recipients)
    key = stores.statement_key(tenant, vault, snapshot.machine_id, snapshot.sequence, pk)
    yield Wanted(key, _equals(statement), statement)
    if snapshot.blocks:
        listed = ReferenceList(pk.bytes, bytes(snapshot.blocks), known_counts(snapshot.statistics))
        yield Wanted(stores.references_key(tenant, vault, pk), _lists_the_same(listed), listed.encode())
    first = stores.lifecycle_key(tenant, vault, pk, 1)
    yield Wanted(first, _is_receipt(snapshot), _receipt(snapshot))


def _receipt(snapshot: Snapshot) -> bytes:
    time = (snapshot.received_at - EPOCH) // timedelta(microseconds=1)
    return LifecycleRecord(snapshot.pk.bytes, LifecycleEvent.RECEIVED, time).encode()


def _is_receipt(snapshot: Snapshot) -> Callable[[bytes], bool]:
    expected = decode_lifecycle(_receipt(snapshot))

    def right(data: bytes) -> bool:
        try:
            found = decode_lifecycle(data)
        except FormatError:
            return False
        same = (found.snapshot_id, found.event, found.time, found.previous)
        return same == (expected.snapshot_id, expected.event, expected.time, expected.previous)

    return right


def _lists_the_same(expected: ReferenceList) -> Callable[[bytes], bool]:
    """The same blocks, and the same figures where the row has any; in which order these stand says nothing."""

    def right(data: bytes) -> bool:
        try:
            found = decode_references(data)
        except FormatError:
            return False
        same = (found.snapshot_id, found.blocks) == (expected.snapshot_id, expected.blocks)
        return same and (not expected.counts or found.counts == expected.counts)

    return right


def _equals(expected: bytes) -> Callable[[bytes], bool]:
    return lambda data: data == expected


def _scrub(
    wanted: list[Wanted], places: list[_Somewhere], subject: str, tenant: UUID, kind: FindingKind, result: LookedAt
) -> None:
    for one in wanted:
        for place in places:
            result.objects += 1
            fault = _fault(place, one, result)
            if fault is None:
                continue
            if not fault:
                close_healed(subject, BROUGHT_BACK, place.target, kind, one.key)
                continue
            finding = note_finding(kind, tenant, subject, fault, target=place.target, key=one.key)
            how = _heal(one, place, places, result)
            result.seen.append(Seen(one.key.split("/", 2)[-1], place.name, place.target is None, fault, bool(how)))
            if how:
                note_healed(finding, how)
            else:
                note_lost(finding)


def _fault(place: _Somewhere, one: Wanted, result: LookedAt) -> str | None:
    """What is wrong with an object at a place, "" for nothing, None when it cannot be read just now."""
    try:
        return "" if one.is_right(place.store.get(one.key)) else "It is damaged."
    except NotFound:
        return "It is gone."
    except StoreError as fault:
        result.unread.append(f"{place.name}: {fault}")
        return None


def _heal(one: Wanted, place: _Somewhere, places: list[_Somewhere], result: LookedAt) -> str:
    """Put the right bytes in place of damaged ones; what they were had from, or "" when nowhere."""
    data, how = _right_bytes(one, place, places)
    if data is None:
        return ""
    try:
        standing = stand_in(place.store, one.key, io.BytesIO(data), blake3(data).digest(), lambda key: True)
    except StoreError as fault:
        result.unread.append(f"{place.name}: {fault}")
        return ""
    return how if standing == usual_key(one.key) else ""


def _right_bytes(one: Wanted, place: _Somewhere, places: list[_Somewhere]) -> tuple[bytes | None, str]:
    if one.known is not None:
        return one.known, "from the catalogue"
    for other in places:
        if other is place:
            continue
        try:
            data = other.store.get(one.key)
        except StoreError:
            continue
        if one.is_right(data):
            return data, f"from the copy at {other.name}"
    return None, ""


def _settle(snapshot: Snapshot) -> None:
    """What stands in the home directory decides about the snapshot's state."""
    fault = check_snapshot_objects(snapshot)
    if fault:
        Snapshot.objects.filter(pk=snapshot.pk, state__in=GOOD).update(state=SnapshotState.DAMAGED, fault=fault)
    elif snapshot.state == SnapshotState.DAMAGED:
        complete_snapshot(snapshot.pk)
