"""One vault's folder in a store: its machines' records, statements, roots, and what became of its snapshots."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from agents.errors import UsageFault
from agents.from_target.stores import HEALED, Gone, ObjectStore, Unreadable
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import LifecycleEvent, decode_lifecycle
from protocol.stored.machine_records import MAX_MACHINE_RECORD, decode_machine_record

ID = re.compile(r"[0-9a-f]{32}")
STATEMENT = re.compile(r"(?P<number>\d{20})-(?P<snapshot>[0-9a-f]{32})\.statement")
MAX_LIFECYCLE = 16 * 1024


@dataclass(frozen=True, slots=True)
class StatementFile:
    """A statement by its name; nothing of it is proved yet. `keys`: of its files, the usual one first."""

    number: int
    snapshot: bytes
    keys: tuple[str, ...]


class StoredVault:
    """Where a vault's objects are in a store."""

    def __init__(self, store: ObjectStore, vault_id: bytes) -> None:
        """Find the vault. UsageFault when the store has none of this id."""
        self.store = store
        self.vault_id = vault_id
        self.tenant_id = bytes.fromhex(self._find_tenant())
        self.folder = f"{self.tenant_id.hex()}/{vault_id.hex()}"
        self._events: dict[str, dict[int, list[str]]] | None = None
        self._roots: dict[str, list[str]] | None = None

    def _find_tenant(self) -> str:
        tenants = [name for name in self.store.folders("") if ID.fullmatch(name)]
        found = [tenant for tenant in tenants if self.vault_id.hex() in self.store.folders(tenant)]
        if len(found) == 1:
            return found[0]
        many = f"has this vault under {len(found)} tenants" if found else "holds nothing of this vault"
        raise UsageFault(
            f"{self.store.title} {many} ({self.vault_id.hex()}).", "Check the store's address, and that the kit is its."
        )

    def machine_records(self) -> dict[bytes, bytes]:
        """Every machine's record by its id, not checked yet; of several files the first that can be read as one."""
        records: dict[bytes, bytes] = {}
        for key in _usual_first(key for key, _ in self.store.keys(f"{self.folder}/machines")):
            name = HEALED.sub("", key.rpartition("/")[2]).removesuffix(".record")
            if ID.fullmatch(name) and not _is_record(records.get(bytes.fromhex(name), b"")):
                records[bytes.fromhex(name)] = self._whole(key, MAX_MACHINE_RECORD + 1)
        return records

    def statements(self, machine_id: bytes) -> list[list[StatementFile]]:
        """A machine's statements by number, the newest first. Mostly one a number."""
        found: dict[tuple[int, bytes], list[str]] = defaultdict(list)
        for key in _usual_first(key for key, _ in self.store.keys(f"{self.folder}/statements/{machine_id.hex()}")):
            if named := STATEMENT.fullmatch(HEALED.sub("", key.rpartition("/")[2])):
                found[int(named["number"]), bytes.fromhex(named["snapshot"])].append(key)
        numbers: dict[int, list[StatementFile]] = defaultdict(list)
        for (number, snapshot), keys in found.items():
            numbers[number].append(StatementFile(number, snapshot, tuple(keys)))
        return [numbers[number] for number in sorted(numbers, reverse=True)]

    def has(self, snapshot: bytes, suffix: str) -> bool:
        """Whether the folder of roots holds `<snapshot>.<suffix>`, or what stands in for it."""
        return bool(self._files_of(snapshot, suffix))

    def read_of(
        self, snapshot: bytes, suffix: str, limit: int, right: Callable[[bytes], bool] = lambda data: True
    ) -> bytes:
        """The object `<snapshot>.<suffix>`: the first of its files that is `right`, else the first. Raises Gone.

        One byte beyond the limit is read at most, so that too much is seen as such.
        """
        found = [self._whole(key, limit + 1) for key in self._files_of(snapshot, suffix)]
        if not found:
            raise Gone(f"{snapshot.hex()}.{suffix} is not in the store.")
        return next((data for data in found if right(data)), found[0])

    def _files_of(self, snapshot: bytes, suffix: str) -> list[str]:
        """Its keys, the usual one first; of recipient records last, as only opening shows whether they are whole."""
        if self._roots is None:
            self._roots = defaultdict(list)
            for key, _ in self.store.keys(f"{self.folder}/roots"):
                self._roots[HEALED.sub("", key.rpartition("/")[2])].append(key)
        keys = _usual_first(self._roots.get(f"{snapshot.hex()}.{suffix}", []))
        return keys[::-1] if suffix == "recipients" else keys

    def is_expired(self, snapshot: bytes) -> bool:
        """Whether the newest lifecycle record that speaks of it says so.

        One that cannot be read may have brought it back, so what came before it does not count any more. It is no
        reason to read nothing: a snapshot is proved by its statement and root alone.
        """
        expired = False
        for data in self.lifecycle(snapshot, 2):
            event = _event_in(data, snapshot)
            if event is None or event in (LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED):
                expired = event is LifecycleEvent.EXPIRED
        return expired

    def lifecycle(self, snapshot: bytes, first: int = 1) -> Iterator[bytes]:
        """Yield its lifecycle records as they lie there, from this number on, the oldest first; b"" for one that is
        missing, or that the disk does not give. Of several files of one number the first that can be read as one."""
        files = self._events_of(snapshot)
        for number in range(first, max(files, default=0) + 1):
            found = [self._event_file(key) for key in files.get(number, [])]
            yield next((data for data in found if _event_in(data, snapshot) is not None), next(iter(found), b""))

    def _event_file(self, key: str) -> bytes:
        try:
            return self._whole(key, MAX_LIFECYCLE)
        except Gone:
            return b""

    def _whole(self, key: str, limit: int) -> bytes:
        """A small object; b"" when the disk does not give it: then what stands in for it, if anything, has to do."""
        try:
            return self.store.read(key, 0, limit)
        except Unreadable:
            return b""

    def _events_of(self, snapshot: bytes) -> dict[int, list[str]]:
        """The keys of its lifecycle records by their number, each number's usual key first."""
        if self._events is None:
            self._events = defaultdict(lambda: defaultdict(list))
            for key in _usual_first(key for key, _ in self.store.keys(f"{self.folder}/lifecycle")):
                number = HEALED.sub("", key.rpartition("/")[2]).removesuffix(".lifecycle")
                if number.isdecimal() and len(number) < 10:
                    self._events[key.split("/")[-2]][int(number)].append(key)
        return self._events.get(snapshot.hex(), {})


def _usual_first(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (bool(HEALED.search(key)), key))


def _event_in(data: bytes, snapshot: bytes) -> LifecycleEvent | None:
    """What a lifecycle record says of this snapshot; None for bytes that are none of its records."""
    try:
        record = decode_lifecycle(data)
    except FormatError:
        return None
    return record.event if record.snapshot_id == snapshot else None


def _is_record(data: bytes) -> bool:
    try:
        decode_machine_record(data)
    except FormatError:
        return False
    return True
