"""One vault's folder in a store: its machines' records, statements, roots, and what became of its snapshots."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agents.errors import Damage, UsageFault
from agents.from_target.stores import HEALED, Gone, ObjectStore
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
        self._events: dict[str, int] | None = None
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
                records[bytes.fromhex(name)] = self.store.read(key, 0, MAX_MACHINE_RECORD + 1)
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
        found = [self.store.read(key, 0, limit + 1) for key in self._files_of(snapshot, suffix)]
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
        """Whether the newest lifecycle record that speaks of it says so."""
        expired = False
        for number in range(2, self._event_count(snapshot) + 1):
            key = f"{self.folder}/lifecycle/{snapshot.hex()}/{number}.lifecycle"
            try:
                record = decode_lifecycle(self.store.read(key, 0, MAX_LIFECYCLE))
            except FormatError as fault:
                raise Damage(f"A lifecycle record of snapshot {snapshot.hex()[:8]} is damaged: {fault.why}.") from None
            if record.snapshot_id == snapshot and record.event in (LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED):
                expired = record.event is LifecycleEvent.EXPIRED
        return expired

    def _event_count(self, snapshot: bytes) -> int:
        if self._events is None:
            self._events = defaultdict(int)
            for key, _ in self.store.keys(f"{self.folder}/lifecycle"):
                self._events[key.split("/")[-2]] += 1
        return self._events.get(snapshot.hex(), 0)


def _usual_first(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (bool(HEALED.search(key)), key))


def _is_record(data: bytes) -> bool:
    try:
        decode_machine_record(data)
    except FormatError:
        return False
    return True
