"""Lifecycle records in the home store: what became of a snapshot, appended, each naming the one before by its digest.

A row says that a record is due, in the transaction that does what it reports; the record is put into the store
afterwards. Until it is there, nothing of the snapshot is reclaimed. Its number is found in the store, not in the
database: a catalogue that was rebuilt goes on where the store stands, and nothing there is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

from blake3 import blake3
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.proposals import EPOCH
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage.base import NotFound, Store
from backup_platform.tiering.asking import ask_to_copy_snapshot
from backup_platform.tiering.snapshot_objects import targets_for_objects
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle

from .models import Hold, LifecycleEntry

LOT = 64
WRITERS = 8
"""Records that are put at a time: fsyncs that come together cost the file system one journal entry."""
NEEDED = ("tenant", "event", "at", "detail", "number", "snapshot__tenant", "snapshot__vault")
MOST_RECORDS = 100_000
"""Of one snapshot; a search that finds more is a search that goes wrong."""


def append(
    snapshots: Iterable[UUID],
    event: LifecycleEvent,
    detail: dict[str, str],
    *,
    tenant_id: UUID,
    hold: Hold | None = None,
    at: datetime | None = None,
) -> None:
    """Note that a record is due for each of these snapshots, in the transaction in force, and wake who writes it.

    Once for a hold and an event; `detail` is short text without secrets or file names.
    """
    moment = at or timezone.now()
    rows = [
        LifecycleEntry(tenant_id=tenant_id, snapshot_id=pk, event=int(event), at=moment, detail=detail, hold=hold)
        for pk in snapshots
    ]
    LifecycleEntry.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=hold is not None)
    if rows:
        enqueue(JobKind.EXPIRE, subject=f"records:{tenant_id}", tenant_id=tenant_id)


def write_due(tenant_id: UUID, heartbeat: Callable[[], object] = bool) -> int:
    """Put a tenant's due records into the home store, oldest first; how many. Raises StoreError: the rest stays due."""
    target, written = stores.local_target(), 0
    while True:
        due = LifecycleEntry.objects.filter(tenant_id=tenant_id, number__isnull=True).order_by("pk")
        oldest: dict[UUID, int] = {}
        for snapshot_id, pk in due.values_list("snapshot_id", "pk")[:LOT]:
            oldest.setdefault(snapshot_id, pk)  # one of each: its next one names it
        if not oldest:
            return written
        heartbeat()
        written += _write_lot(target, tenant_id, list(oldest.values()))


def _write_lot(target: Store, tenant_id: UUID, pks: Sequence[int]) -> int:
    """Write records of different snapshots in one transaction. The first that somebody has locked is waited for."""
    faults: list[Exception] = []
    with transaction.atomic():
        entries = _take(pks)
        done = _put_all(target, entries, faults)
        LifecycleEntry.objects.bulk_update(done, ["number"])
        if done and targets_for_objects(tenant_id):
            for entry in done:
                ask_to_copy_snapshot(entry.snapshot)
    if faults:
        raise faults[0]
    taken = {entry.pk for entry in entries}
    waiting = next((pk for pk in pks if pk not in taken), None)
    return len(done) + (0 if waiting is None else _write(target, waiting))


def _take(pks: Sequence[int]) -> list[LifecycleEntry]:
    """Of these records the due ones, locked with their snapshots. Nobody is waited for: two takers would for ever."""
    due = LifecycleEntry.objects.select_for_update(of=("self",), skip_locked=True).select_related("snapshot")
    entries = list(due.only(*NEEDED).filter(pk__in=pks, number__isnull=True).order_by("pk"))
    mine = Snapshot.objects.select_for_update(no_key=True, skip_locked=True)
    free = set(mine.filter(pk__in=[one.snapshot_id for one in entries]).values_list("pk", flat=True))
    return [entry for entry in entries if entry.snapshot_id in free]


def _put_all(target: Store, entries: Sequence[LifecycleEntry], faults: list[Exception]) -> list[LifecycleEntry]:
    """Put records side by side; those that are in the store then, with their numbers. What went wrong is added."""
    last = _numbers([entry.snapshot_id for entry in entries])
    with ThreadPoolExecutor(WRITERS) as pool:
        puts = [(entry, pool.submit(_put, target, entry, last.get(entry.snapshot_id, 1))) for entry in entries]
    done = []
    for entry, put in puts:
        fault = put.exception()
        if fault is None:
            entry.number = put.result()
            done.append(entry)
        elif isinstance(fault, Exception):
            faults.append(fault)
        else:
            raise fault
    return done


def _write(target: Store, pk: int) -> int:
    """Write one record; its row is locked, so that two workers never write the same."""
    with transaction.atomic():
        due = LifecycleEntry.objects.select_for_update(of=("self",)).select_related("snapshot")
        entry = due.filter(pk=pk, number__isnull=True).first()
        if entry is None:
            return 0
        Snapshot.objects.select_for_update(no_key=True).only("pk").get(pk=entry.snapshot_id)  # one at a time
        entry.number = _put(target, entry, _numbers([entry.snapshot_id]).get(entry.snapshot_id, 1))
        entry.save(update_fields=["number"])
        ask_to_copy_snapshot(entry.snapshot)
    return 1


def _numbers(snapshots: Iterable[UUID]) -> dict[UUID, int]:
    """The number of each snapshot's newest record, as far as rows know."""
    known = LifecycleEntry.objects.filter(snapshot_id__in=list(snapshots), number__isnull=False).order_by()
    return dict(known.values_list("snapshot_id").annotate(newest=Max("number")))


def _put(target: Store, entry: LifecycleEntry, last: int) -> int:
    """The record's number in the store. One that a crash left there unnoticed is found again. Asks no database."""
    last, held = _newest(target, entry, last)
    if held is not None and record_of(entry, before(held)).encode() == held:
        return last
    previous = bytes(DIGEST_SIZE) if held is None else blake3(held).digest()
    target.put(_key(entry, last + 1), record_of(entry, previous).encode())
    return last + 1


def _newest(target: Store, entry: LifecycleEntry, last: int) -> tuple[int, bytes | None]:
    """The number of the snapshot's newest record in the store, and its bytes. Numbers have no gaps."""
    while target.exists(_key(entry, last + 1)):
        last += 1
        if last > MOST_RECORDS:
            raise OverflowError("A snapshot has more lifecycle records than can be.")
    try:
        return last, target.get(_key(entry, last))
    except NotFound:
        return last, None  # the record of its receipt is lost; the chain begins anew, and readers say so


def before(record: bytes) -> bytes:
    """The digest of the record before, as a record names it; zeros for bytes that are no record."""
    try:
        return decode_lifecycle(record).previous
    except FormatError:
        return bytes(DIGEST_SIZE)


def record_of(entry: LifecycleEntry, previous: bytes) -> LifecycleRecord:
    """A record as it stands, or will stand, in the store behind the one with this digest."""
    time = (entry.at - EPOCH) // timedelta(microseconds=1)
    return LifecycleRecord(entry.snapshot_id.bytes, LifecycleEvent(entry.event), time, previous, entry.detail)


def _key(entry: LifecycleEntry, number: int) -> str:
    return stores.lifecycle_key(entry.tenant_id, entry.snapshot.vault_id, entry.snapshot_id, number)
