"""The snapshots of one machine in a store: what a reader otherwise asks a gateway for (`agents.engine.reading.Source`).

As with a gateway nothing here is proof of anything: the reader checks statements, roots and content by the kit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from agents.engine.sealing import open_root
from agents.errors import Damage
from agents.from_target.cold import ColdPacks
from agents.from_target.pack_index import PackIndex
from agents.from_target.records import RecordReader
from agents.from_target.stores import Gone, Unreadable
from agents.from_target.vault import StatementFile, StoredVault
from protocol.stored.errors import FormatError
from protocol.stored.recipients import split_recipients
from protocol.stored.references import decode_references
from protocol.stored.roots import MAX_ROOT
from protocol.stored.statements import Statement, choose_statement, decode_statement
from protocol.wire import limits, messages

if TYPE_CHECKING:
    from agents.keys.rsa import PrivateKey
    from protocol.wire import Buffer

PAGE = 50
READERS = 8
MAX_RECIPIENTS_FILE = limits.MAX_RECIPIENTS * (limits.MAX_RECIPIENT + 2) + 1
MAX_REFERENCES_FILE = 32 << 20
SET_ASIDE = (
    "That snapshot cannot be proved any more. To read its machine's others, move this file out of the store (or out "
    "of a copy of it), and see that `latest` is the one that you mean."
)


@dataclass
class StoreLink:
    """One machine's snapshots. `key` opens roots; `name` is what the machine is called, if that is known."""

    vault: StoredVault
    machine_id: bytes
    record: bytes
    key: PrivateKey = field(repr=False)
    tell: Callable[[str], None] = field(default=lambda sentence: None, repr=False)
    name: str = ""
    _records: RecordReader | None = field(default=None, init=False, repr=False)
    _index: PackIndex | None = field(default=None, init=False, repr=False)
    _cold: ColdPacks = field(default_factory=ColdPacks, init=False, repr=False)
    _statements: dict[bytes, bytes] = field(default_factory=dict, init=False, repr=False)
    _gone: dict[int, Statement] = field(default_factory=dict, init=False, repr=False)

    def snapshots(self) -> Iterator[messages.Snapshots]:
        """Yield pages of the machine's snapshots that are there, the newest first."""
        numbers = self.vault.statements(self.machine_id)
        newer: Statement | None = None
        with ThreadPoolExecutor(READERS, thread_name_prefix="strongroom-list") as pool:
            for start in range(0, len(numbers), PAGE):
                files = numbers[start : start + PAGE]
                chosen = []
                for read in pool.map(lambda same: [self._statement(file) for file in same], files):
                    newer = choose_statement(read, newer)
                    chosen.append(newer)
                items = [item for item in pool.map(self._item, chosen) if item is not None]
                more = start + PAGE < len(numbers)
                yield messages.Snapshots(items=items, machine_records=[self.record], more=more)

    def root(self, snapshot: bytes) -> tuple[messages.RootIs, bytes]:
        """Return a snapshot's root with what belongs to it, and the root file."""
        short = snapshot.hex()[:8]
        try:
            root_hash = decode_statement(self._statements[snapshot]).root_hash
            file = self.vault.read_of(snapshot, "root", MAX_ROOT, lambda data: blake3(data).digest() == root_hash)
            records = split_recipients(self.vault.read_of(snapshot, "recipients", MAX_RECIPIENTS_FILE))
        except Gone:
            raise Damage(f"The root of snapshot {short}, or its recipient records, are not in the store.") from None
        except FormatError as fault:
            raise Damage(f"The recipient records of snapshot {short} are damaged: {fault.why}.") from None
        # A store has no other list of the blocks that needs to be believed: the reader holds it against the statement.
        body = open_root(file, records, self.key)
        said = messages.RootIs(
            statement=self._statements[snapshot],
            recipients=records,
            machine_record=self.record,
            blocks=b"".join(ref.block_id for ref in body.segments),
        )
        return said, file

    def fetch(self, snapshot: bytes, block: bytes, ids: Sequence[bytes]) -> dict[bytes, Future[Buffer]]:
        """Ask for chunks; each future gets the sealed bytes or an OpeningFault."""
        if self._records is None:
            folder = f"{self.vault.folder}/packs"
            self._index = PackIndex(self.vault.store, folder, self.vault.vault_id, self.tell, self._cold)
            self._records = RecordReader(self.vault.store, self._index)
        return self._records.fetch(ids)

    def wait_for_thaw(self, hours: float | None, phase: Callable[[bool], None]) -> None:
        """How long to wait for packs in cold storage when chunks are fetched; None: they are not asked for."""
        self._cold.hours, self._cold.phase = hours, phase

    def explain(self, first: int, last: int) -> Iterator[messages.Explained]:
        """Yield what the store says of numbers that a list of it has left out."""
        for number in range(last, first - 1, -1):
            if number in self._gone:
                snapshot = self._gone[number].snapshot_id
                fate = messages.Fate(statement=self._statements[snapshot], records=self._lifecycle(snapshot))
                yield messages.Explained(fates=[fate])

    def _lifecycle(self, snapshot: bytes) -> list[bytes]:
        """Its newest records; for one that cannot be a record its digest."""
        records: list[bytes] = []
        with contextlib.suppress(Gone):  # what is there has to do; the reader judges it
            for data in self.vault.lifecycle(snapshot):
                fits = 0 < len(data) <= limits.MAX_LIFECYCLE_RECORD
                records.append(data if fits else blake3(data).digest())
        return records[-limits.MAX_LIFECYCLE_RECORDS :]

    def close(self) -> None:
        """End what runs, and remove the temporary index."""
        if self._records is not None:
            self._records.close()
        if self._index is not None:
            self._index.close()

    def _statement(self, file: StatementFile) -> Statement:
        """The statement of this name; of several files the first that is the one."""
        fault = Damage(f"The statement of snapshot {file.snapshot.hex()[:8]} is not in the store any more.")
        for key in file.keys:
            try:
                data = self.vault.store.read(key, 0, limits.MAX_STATEMENT + 1)
                statement = decode_statement(data)
            except (FormatError, Unreadable) as why:
                said = why.why if isinstance(why, FormatError) else "the disk does not give it"
                fault = Damage(f"The statement of snapshot {file.snapshot.hex()[:8]} is damaged: {said}.", SET_ASIDE)
                continue
            if (statement.sequence, statement.snapshot_id) == (file.number, file.snapshot):
                self._statements[file.snapshot] = data
                return statement
            fault = Damage(f"{key} holds another statement than the one that it is named by.", SET_ASIDE)
        raise fault

    def _item(self, statement: Statement) -> messages.SnapshotItem | None:
        """What the store says of a snapshot; None for an expired one whose root is gone: nothing is left to restore."""
        snapshot = statement.snapshot_id
        expired = self.vault.is_expired(snapshot)
        there = self.vault.has(snapshot, "root")
        if expired and not there:
            self._gone[statement.sequence] = statement
            return None
        return messages.SnapshotItem(
            id=snapshot,
            machine_id=statement.machine_id,
            machine_name=self.name,
            sequence=statement.sequence,
            state="expired" if expired else "stored" if there else "damaged",
            received_at=statement.time,
            machine_time=statement.time,
            statement=self._statements[snapshot],
            **self._counts(snapshot),
        )

    def _counts(self, snapshot: bytes) -> dict[str, int]:
        if not self.vault.has(snapshot, "references"):
            return {}
        try:
            counts = decode_references(self.vault.read_of(snapshot, "references", MAX_REFERENCES_FILE)).counts
        except (FormatError, Gone):
            return {}  # figures for people only
        return {name: max(0, int(counts.get(name, 0))) for name in ("files", "bytes", "bytes_sent", "errors")}
