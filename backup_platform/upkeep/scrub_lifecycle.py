"""A snapshot's lifecycle records after its receipt: each is what its row says, and names the one before.

Rows know the records that this catalogue wrote. A catalogue that was rebuilt has none for older ones: these are right
if they can be read, are of this snapshot and follow the one before, and are healed from another place alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from blake3 import blake3

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot
from backup_platform.retention.lifecycle import MOST_RECORDS, record_of
from backup_platform.retention.models import LifecycleEntry
from backup_platform.storage.base import Store, StoreError
from backup_platform.upkeep.scrub_wanted import Wanted
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.lifecycle import LifecycleRecord, decode_lifecycle

NONE_BEFORE = bytes(DIGEST_SIZE)
"""What a record names that was written while the one before could not be found: it began the chain anew."""
PAGE = 500


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record that should be there, and its number."""

    number: int
    wanted: Wanted


def later_records(snapshot: Snapshot, receipt: bytes, home: Store) -> Iterator[Numbered]:
    """Every record from the second on, in order. Read one before asking for the next: what was healed is then there.

    Raises StoreError when the home directory cannot be asked.
    """
    previous: bytes | None = blake3(receipt).digest()
    number = 1
    for entry in _written(snapshot):
        while number + 1 < (entry.number or 0):
            number += 1
            one = _without_row(snapshot, number, previous)
            yield one
            previous = _digest_at(home, one.wanted)
        number += 1
        one = _with_row(snapshot, entry, number, previous)
        yield one
        previous = _digest_at(home, one.wanted)
    while number < MOST_RECORDS and home.exists(_key(snapshot, number + 1)):
        number += 1
        one = _without_row(snapshot, number, previous)
        yield one
        previous = _digest_at(home, one.wanted)


def _written(snapshot: Snapshot) -> Iterator[LifecycleEntry]:
    rows = LifecycleEntry.objects.filter(snapshot=snapshot, number__gt=1).order_by("number")
    yield from rows.iterator(chunk_size=PAGE)


def _with_row(snapshot: Snapshot, entry: LifecycleEntry, number: int, previous: bytes | None) -> Numbered:
    expected = record_of(entry, previous or NONE_BEFORE)
    known = expected.encode() if previous is not None else None

    def is_the_rows(found: LifecycleRecord) -> bool:
        same = (found.snapshot_id, found.event, found.time, found.detail)
        return same == (expected.snapshot_id, expected.event, expected.time, expected.detail)

    return Numbered(number, Wanted(_key(snapshot, number), _right(previous, is_the_rows), known))


def _without_row(snapshot: Snapshot, number: int, previous: bytes | None) -> Numbered:
    def is_of_the_snapshot(found: LifecycleRecord) -> bool:
        return found.snapshot_id == snapshot.pk.bytes

    return Numbered(number, Wanted(_key(snapshot, number), _right(previous, is_of_the_snapshot)))


def _right(previous: bytes | None, fits: Callable[[LifecycleRecord], bool]) -> Callable[[bytes], bool]:
    """Whether bytes are a record that fits, behind the one with this digest (None: nobody knows which that was)."""

    def right(data: bytes) -> bool:
        try:
            found = decode_lifecycle(data)
        except FormatError:
            return False
        return fits(found) and (previous is None or found.previous in (previous, NONE_BEFORE))

    return right


def _digest_at(home: Store, one: Wanted) -> bytes | None:
    """The digest of the record that stands at home now, or of the one that should; None when nobody knows."""
    data = b""
    with suppress(StoreError):
        data = home.get(one.key)
    right = data if one.is_right(data) else one.known
    return None if right is None else blake3(right).digest()


def _key(snapshot: Snapshot, number: int) -> str:
    return stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, number)
