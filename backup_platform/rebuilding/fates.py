"""What became of a snapshot, from its lifecycle records: received when, expired or not, held by whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from backup_platform.catalog import stores
from backup_platform.catalog.proposals import EPOCH
from backup_platform.storage.base import NotFound
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle

from .keeping import Keeper
from .survey import VaultFiles

NO_RECORD = bytes(32)
ENDS = (LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED)


@dataclass
class Fate:
    """`records` in order; `fault` says what is wrong with them, if anything is."""

    records: list[LifecycleRecord] = field(default_factory=list)
    fault: str = ""

    @property
    def received_at(self) -> datetime | None:
        """When the platform received it, by the platform's clock."""
        first = self.records[0] if self.records else None
        return moment(first.time) if first is not None and first.event is LifecycleEvent.RECEIVED else None

    @property
    def expiry(self) -> LifecycleRecord | None:
        """The expiry that is in force as far as the records go, None when it never expired or was brought back."""
        found = None
        for record in self.records:
            if record.event is LifecycleEvent.EXPIRED:
                found = record
            elif record.event is LifecycleEvent.UNDELETED:
                found = None
        return found

    @property
    def brought_back(self) -> bool:
        """Whether its whole story ends with somebody's bringing it back."""
        events = [record.event for record in self.records if record.event in ENDS]
        return not self.fault and events[-1:] == [LifecycleEvent.UNDELETED]

    @property
    def holds(self) -> dict[str, LifecycleRecord]:
        """The holds in force by their id (or case, where a record names none): each with the record that set it."""
        found: dict[str, LifecycleRecord] = {}
        for record in self.records:
            name = record.detail.get("hold") or record.detail.get("case", "")
            if record.event is LifecycleEvent.HOLD_SET:
                found[name] = record
            elif record.event is LifecycleEvent.HOLD_RELEASED:
                found.pop(name, None)
        return found


def moment(microseconds: int) -> datetime:
    """A stored time; the nearest one that can be said for numbers beyond all calendars."""
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=EPOCH.tzinfo)


def read_fate(files: VaultFiles, snapshot: UUID, keeper: Keeper) -> Fate:
    """Read a snapshot's lifecycle records, from 1 on. A missing or damaged one ends the reading, and is said."""
    fate, previous = Fate(), NO_RECORD
    for number in range(1, files.lifecycle.get(snapshot, 0) + 1):
        key = stores.lifecycle_key(files.tenant_id, files.vault_id, snapshot, number)
        try:
            record = decode_lifecycle(keeper.take(key, _is_record))
        except NotFound:
            fate.fault = f"Its lifecycle record {number} is missing."
            return fate
        except FormatError as fault:
            fate.fault = f"Its lifecycle record {number} is damaged: {fault.why}."
            return fate
        if record.snapshot_id != snapshot.bytes or record.previous not in (previous, NO_RECORD):
            fate.fault = f"Its lifecycle record {number} does not follow the one before it."
            return fate
        fate.records.append(record)
        previous = record.digest
    return fate


def _is_record(data: bytes) -> bool:
    try:
        decode_lifecycle(data)
    except FormatError:
        return False
    return True
