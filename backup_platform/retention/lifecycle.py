"""Lifecycle records in the home store: what became of a snapshot, appended, each naming the one before by its digest.

A row says that a record is due, in the transaction that does what it reports; the record is put into the store
afterwards. Until it is there, nothing of the snapshot is reclaimed. Its number is found in the store, not in the
database: a catalogue that was rebuilt goes on where the store stands, and nothing there is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from blake3 import blake3
from django.db import transaction
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.proposals import EPOCH
from backup_platform.jobs.models import JobKind
from backup_platform.jobs.services import enqueue
from backup_platform.storage.base import NotFound, Store
from backup_platform.tiering.asking import ask_to_copy_snapshot
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle

from .models import Hold, LifecycleEntry

LOT = 200
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
        lot = list(due.values_list("pk", flat=True)[:LOT])
        for pk in lot:
            heartbeat()
            written += _write(target, pk)
        if len(lot) < LOT:
            return written


def _write(target: Store, pk: int) -> int:
    """Write one record; its row is locked, so that two workers never write the same."""
    with transaction.atomic():
        due = LifecycleEntry.objects.select_for_update(of=("self",)).select_related("snapshot")
        entry = due.filter(pk=pk, number__isnull=True).first()
        if entry is None:
            return 0
        Snapshot.objects.select_for_update(no_key=True).only("pk").get(pk=entry.snapshot_id)  # one at a time
        entry.number = _put(target, entry)
        entry.save(update_fields=["number"])
        ask_to_copy_snapshot(entry.snapshot)
    return 1


def _put(target: Store, entry: LifecycleEntry) -> int:
    """The record's number in the store. One that a crash left there unnoticed is found again."""
    last, held = _newest(target, entry)
    if held is not None and _record(entry, _before(held)).encode() == held:
        return last
    previous = bytes(DIGEST_SIZE) if held is None else blake3(held).digest()
    target.put(_key(entry, last + 1), _record(entry, previous).encode())
    return last + 1


def _newest(target: Store, entry: LifecycleEntry) -> tuple[int, bytes | None]:
    """The number of the snapshot's newest record in the store, and its bytes. Numbers have no gaps."""
    known = LifecycleEntry.objects.filter(snapshot_id=entry.snapshot_id, number__isnull=False)
    last = known.order_by("-number").values_list("number", flat=True).first() or 1
    while target.exists(_key(entry, last + 1)):
        last += 1
        if last > MOST_RECORDS:
            raise OverflowError("A snapshot has more lifecycle records than can be.")
    try:
        return last, target.get(_key(entry, last))
    except NotFound:
        return last, None  # the record of its receipt is lost; the chain begins anew, and readers say so


def _before(record: bytes) -> bytes:
    """The digest of the record before, as a record names it; zeros for bytes that are no record."""
    try:
        return decode_lifecycle(record).previous
    except FormatError:
        return bytes(DIGEST_SIZE)


def _record(entry: LifecycleEntry, previous: bytes) -> LifecycleRecord:
    time = (entry.at - EPOCH) // timedelta(microseconds=1)
    return LifecycleRecord(entry.snapshot_id.bytes, LifecycleEvent(entry.event), time, previous, entry.detail)


def _key(entry: LifecycleEntry, number: int) -> str:
    return stores.lifecycle_key(entry.tenant_id, entry.snapshot.vault_id, entry.snapshot_id, number)
