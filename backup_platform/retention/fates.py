"""What a machine may hear of snapshots that it is not shown any more: their statements, and their lifecycle records.

Records are read from the home store, or where that lacks one from a target; one that is due and not yet there is given
as it will be written. Holds are no business of the machine's: of their records the digest alone is given, by
which the record after them still proves its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from blake3 import blake3

from backup_platform.catalog import stores
from backup_platform.catalog.errors import ObjectLost, RecordUnavailable
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.catalog.object_reading import read_object
from backup_platform.storage.base import NotFound, StoreError
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.lifecycle import LifecycleEvent, decode_lifecycle
from protocol.wire import limits

from .lifecycle import before, record_of
from .models import LifecycleEntry
from .queries import lifecycle_count

GONE = (SnapshotState.EXPIRED, SnapshotState.RECLAIMED)
"""The states of snapshots that no machine is shown."""
MOST_READ = 200
"""Records of one snapshot that are read at most; a rebuilt catalogue does not know how many there are."""
MOST_BYTES = 16 * 1024
"""A lifecycle record is half as long at most."""
TOLD = frozenset({LifecycleEvent.RECEIVED, LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED})


@dataclass(frozen=True, slots=True)
class Fate:
    """A snapshot that is gone: its statement, and its records, oldest first (32 bytes: a record's digest alone)."""

    sequence: int
    statement: bytes
    records: list[bytes]


def fates(machine_id: UUID, first: int, last: int, most: int) -> Iterator[Fate]:
    """Yield what became of a machine's gone snapshots of these numbers, the newest first, at most so many.

    Call it in the tenant's scope, for a machine whose snapshots may be listed. Raises RecordUnavailable.
    """
    gone = Snapshot.objects.filter(machine=machine_id, sequence__range=(first, last), state__in=GONE)
    rows = list(gone.only("tenant_id", "vault_id", "sequence", "statement").order_by("-sequence")[:most])
    counts, due = lifecycle_count([row.pk for row in rows]), _due(rows)
    for row in rows:
        records = _followed(list(_written(row, counts[row.pk])), due[row.pk])
        yield Fate(row.sequence, bytes(row.statement), [_told(one) for one in records[-limits.MAX_LIFECYCLE_RECORDS :]])


def _due(rows: Sequence[Snapshot]) -> defaultdict[UUID, list[LifecycleEntry]]:
    """The records of these snapshots that are not in the store yet, in the order in which they will come there."""
    found: defaultdict[UUID, list[LifecycleEntry]] = defaultdict(list)
    ids = [row.pk for row in rows]
    for entry in LifecycleEntry.objects.filter(snapshot_id__in=ids, number__isnull=True).order_by("pk"):
        found[entry.snapshot_id].append(entry)
    return found


def _written(row: Snapshot, known: int) -> Iterator[bytes]:
    """The records that are stored. One that is missing is passed over: what follows it shows that."""
    for number in range(1, MOST_READ + 1):
        key = stores.lifecycle_key(row.tenant_id, row.vault_id, row.pk, number)
        try:
            yield _at_home(key) if number > known else _anywhere(row, key)
        except (NotFound, ObjectLost):
            if number >= known:
                return


def _at_home(key: str) -> bytes:
    """What nobody knows of is looked for at home alone: most often it is the end of what there is."""
    try:
        return stores.local_target().get(key)
    except NotFound:
        raise
    except StoreError as fault:
        raise RecordUnavailable("The home directory cannot be read just now.") from fault


def _anywhere(row: Snapshot, key: str) -> bytes:
    """A record from whichever place has it; bytes that are none of this snapshot's pass where no other are found."""
    seen: list[bytes] = []

    def is_its_own(data: bytes) -> bool:
        seen.append(data)
        try:
            return decode_lifecycle(data).snapshot_id == row.pk.bytes
        except FormatError:
            return False

    try:
        return read_object(row, key, is_its_own, MOST_BYTES)
    except ObjectLost:
        if not seen:
            raise
        return seen[0]


def _followed(held: list[bytes], due: Sequence[LifecycleEntry]) -> list[bytes]:
    """The records in the store, and behind them those that are due; one may be there already without its number."""
    for entry in due:
        if not held or record_of(entry, before(held[-1])).encode() != held[-1]:
            previous = blake3(held[-1]).digest() if held else bytes(DIGEST_SIZE)
            held.append(record_of(entry, previous).encode())
    return held


def _told(record: bytes) -> bytes:
    """A record as a machine may have it: itself, or its digest where it says something of a hold, or nothing sound."""
    try:
        told = decode_lifecycle(record).event in TOLD and len(record) <= limits.MAX_LIFECYCLE_RECORD
    except FormatError:
        told = False
    return record if told else blake3(record).digest()
