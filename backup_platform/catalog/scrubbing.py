"""Scrub: every pack and every snapshot's objects on this host are re-read now, and what is broken is named.

Copies at other targets are the business of `upkeep`, which also heals. Damage takes effect as verification's does. A
damaged pack whose file is whole again (an operator brought it back) is believed again. What cannot be read just now is
an error of the scrub, never damage, and never *clean*.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import connection
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.completion import check_snapshot_objects, complete_snapshot
from backup_platform.catalog.damage import GOOD
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.models import Pack, PackPlace, PackState, Snapshot, SnapshotState
from backup_platform.catalog.pack_check import PackReport
from backup_platform.catalog.verification import examine_pack, expectation, note_verified, read_pack, tell_damage
from backup_platform.catalog.work import ask_to_deduplicate, wake_waiting_snapshots
from backup_platform.fleet.models import Machine
from backup_platform.storage.base import NotFound, StoreError
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault, WrappedSecret

logger = logging.getLogger(__name__)

PAGE = 200
READERS = 2
"""Packs read at once: hashing keeps a core busy for as long as a fast disk reads. Memory: a record for each."""
Reading = Future[PackReport | None]
NOT_OPEN = (PackState.SEALED, PackState.VERIFIED, PackState.DAMAGED)
HERE = (PackPlace.SPOOL, PackPlace.TARGET, PackPlace.LOST)
"""Where a pack's file is on this host, or should be."""
COMMITTED = (*GOOD, SnapshotState.DAMAGED)

BELIEVE_SQL = "UPDATE catalog_chunk SET state = 0 WHERE vault = %s AND pack = %s AND state = 2"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: a pack, snapshot or record (`kind`), its name, and what is the matter."""

    kind: str
    name: str
    fault: str


@dataclass(slots=True)
class Scrubbed:
    """What a scrub looked at and found. `unread` is what could not be read just now."""

    packs: int = 0
    bytes: int = 0
    snapshots: int = 0
    records: int = 0
    open_packs: int = 0
    copies: int = 0
    damaged: list[Fault] = field(default_factory=list)
    unread: list[Fault] = field(default_factory=list)


Effect = Callable[[Pack, PackReport], str]
"""What is done about a report on a pack; returns what is to be said besides, or ""."""


def scrub_all(effect: Effect | None = None) -> Scrubbed:
    """Re-read everything of every tenant on this host. StoreUnavailable when the home directory is away altogether."""
    result = Scrubbed()
    with without_tenant_scope("a scrub covers every tenant"):
        stores.local_target()
        result.open_packs = Pack.objects.filter(state=PackState.OPEN).count()
        for pack, reading in _read_ahead(_packs()):
            with tenant_scope(pack.tenant_id):
                _scrub_pack(pack, reading, result, effect or take_effect)
        for vault in Vault.objects.order_by("number").iterator(chunk_size=PAGE):
            with tenant_scope(vault.tenant_id):
                _scrub_records(vault, result)
        for snapshot in _snapshots():
            with tenant_scope(snapshot.tenant_id):
                _scrub_snapshot(snapshot, result)
        _name_damaged_snapshots(result)
    return result


def _packs() -> Iterator[Pack]:
    last = 0
    while page := list(
        Pack.objects.select_related("vault")
        .filter(pk__gt=last, state__in=NOT_OPEN, place__in=HERE)
        .order_by("pk")[:PAGE]
    ):
        yield from page
        last = page[-1].pk


def _read_ahead(packs: Iterator[Pack]) -> Iterator[tuple[Pack, Reading]]:
    """Each pack with its reading under way: threads read and hash, this one asks and tells the database."""
    under_way: deque[tuple[Pack, Reading]] = deque()
    with ThreadPoolExecutor(READERS, "scrub") as readers:
        for pack in packs:
            with tenant_scope(pack.tenant_id):
                expected = expectation(pack)
            under_way.append((pack, readers.submit(read_pack, pack, expected)))
            if len(under_way) > READERS:
                yield under_way.popleft()
        yield from under_way


def _scrub_pack(pack: Pack, reading: Reading, result: Scrubbed, effect: Effect) -> None:
    result.packs += 1
    result.bytes += pack.bytes
    try:
        report = reading.result() or examine_pack(pack)
        more = effect(pack, report)
    except (RecordUnavailable, StoreError) as fault:
        result.unread.append(Fault("pack", pack.uid.hex, str(fault)))
        return
    if not report.intact and not report.outgrown:
        said = f"{report.fault} {len(report.bad)} records are affected. {more}".strip()
        result.damaged.append(Fault("pack", pack.uid.hex, said))


def take_effect(pack: Pack, report: PackReport) -> str:
    """Let what re-reading a pack found take effect."""
    if report.intact:
        Pack.objects.filter(pk=pack.pk).update(scrubbed_at=timezone.now())
    if pack.state == PackState.SEALED:
        note_verified(pack, report)
    elif report.bad:
        tell_damage(pack, report)
    elif report.intact and pack.state == PackState.DAMAGED:
        believe_again(pack)
    elif not report.intact and not report.outgrown:
        Pack.objects.filter(pk=pack.pk).update(state=PackState.DAMAGED, fault=report.fault[:500])
    return ""


def believe_again(pack: Pack) -> None:
    """A pack that was damaged and now matches its digest: its ids are present again, and snapshots get another look."""
    with vault_lock(pack.vault.number, shared=False), connection.cursor() as cursor:
        cursor.execute(BELIEVE_SQL, [pack.vault.number, pack.pk])
        Pack.objects.filter(pk=pack.pk).update(state=PackState.VERIFIED, fault="")
        ask_to_deduplicate(pack)
        wake_waiting_snapshots(pack.vault, damaged_too=True)


def _snapshots() -> Iterator[Snapshot]:
    snapshots = Snapshot.objects.filter(state__in=COMMITTED).select_related("vault").defer("bitmap", "blocks")
    yield from snapshots.order_by("received_at").iterator(chunk_size=PAGE)


def _scrub_snapshot(snapshot: Snapshot, result: Scrubbed) -> None:
    result.snapshots += 1
    try:
        fault = check_snapshot_objects(snapshot)
        if fault:
            good = Snapshot.objects.filter(pk=snapshot.pk, state__in=GOOD)
            good.update(state=SnapshotState.DAMAGED, fault=fault)
        elif snapshot.state == SnapshotState.DAMAGED:
            complete_snapshot(snapshot.pk)  # it may have been healed
    except (RecordUnavailable, StoreError) as error:
        result.unread.append(Fault("snapshot", snapshot.pk.hex, str(error)))


def _scrub_records(vault: Vault, result: Scrubbed) -> None:
    """The records that stand beside the snapshots, once a snapshot has been committed (a commit puts them there)."""
    if not Snapshot.objects.filter(vault=vault).exists():
        return
    for key, expected in standing_records(vault):
        result.records += 1
        name = "/".join(key.split("/")[2:])
        try:
            if stores.local_target().get(key) != expected:
                result.damaged.append(Fault("record", name, "It differs from the catalogue's."))
        except NotFound:
            result.damaged.append(Fault("record", name, "It is gone."))
        except StoreError as fault:
            result.unread.append(Fault("record", name, str(fault)))


def standing_records(vault: Vault) -> Iterator[tuple[str, bytes]]:
    """Key and bytes of every record that stands beside a vault's snapshots."""
    tenant = vault.tenant_id
    yield stores.vault_record_key(tenant, vault.pk, vault.record_number), bytes(vault.record)
    for secret in WrappedSecret.objects.filter(vault=vault).iterator(chunk_size=PAGE):
        key = stores.secret_key(tenant, vault.pk, secret.epoch, bytes(secret.recipient_key_hash))
        yield key, bytes(secret.data)
    committed = Machine.objects.filter(vault=vault, snapshots__isnull=False).exclude(record=b"").distinct()
    for machine in committed.iterator(chunk_size=PAGE):
        yield stores.machine_record_key(tenant, vault.pk, machine.pk), bytes(machine.record)


def _name_damaged_snapshots(result: Scrubbed) -> None:
    """Every snapshot that is damaged now, whether this scrub found it or an earlier look did."""
    damaged = Snapshot.objects.filter(state=SnapshotState.DAMAGED).order_by("received_at")
    for pk, fault in damaged.values_list("pk", "fault").iterator(chunk_size=PAGE):
        result.damaged.append(Fault("snapshot", pk.hex, fault))
