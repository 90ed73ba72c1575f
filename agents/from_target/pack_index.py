"""Where every record of a vault's packs is, kept in a temporary file: a large vault has millions of them.

Each pack is asked for its header and for the index at its end. A pack whose index cannot be read is read whole, record
by record; one whose header names another vault or pack is not used at all.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock

from agents.from_target.cold import ColdPacks, Item
from agents.from_target.stores import HEALED, Frozen, Gone, ObjectStore, Unreadable
from protocol.stored.errors import FormatError
from protocol.stored.packs import PACK_HEADER_SIZE, IndexEntry, decode_pack_header, read_index
from protocol.stored.salvage import salvage_records

TAIL = 64 * 1024
"""Read at once from a pack's end: trailer and index of some 800 records, so mostly one request is enough."""
READERS = 8
AT_ONCE = 256
"""Packs whose indexes are in memory at a time."""
QUESTION = 500
SUFFIX = ".pack"
COPIES_SQL = """
    SELECT r.id, p.key, r.start, r.length, r.digest FROM record r JOIN pack p ON p.number = r.pack WHERE r.id IN
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One copy of a record: `length` sealed bytes at `offset` of the object `key`, with this BLAKE3."""

    id: bytes
    key: str
    offset: int
    length: int
    digest: bytes

    @property
    def end(self) -> int:
        return self.offset + self.length


class PackIndex:
    """The records of all packs in a folder of a store. Use it from any thread; `close` removes the file."""

    def __init__(
        self,
        store: ObjectStore,
        folder: str,
        vault_id: bytes,
        tell: Callable[[str], None],
        cold: ColdPacks | None = None,
    ) -> None:
        self.cold = cold or ColdPacks()
        self._store = store
        self._folder = folder
        self._vault_id = vault_id
        self._tell = tell
        self._directory = tempfile.TemporaryDirectory(prefix="strongroom-index-")
        self._rows = sqlite3.connect(Path(self._directory.name) / "index", check_same_thread=False)
        self._lock = Lock()
        self._loaded = False
        self.packs = 0

    def places(self, ids: Sequence[bytes]) -> dict[bytes, list[Place]]:
        """Every copy of each id; ids that are in no pack have no entry. The first call reads all packs' indexes."""
        found: dict[bytes, list[Place]] = {}
        with self._lock:
            if not self._loaded:
                self._load()
            for start in range(0, len(ids), QUESTION):
                part = ids[start : start + QUESTION]
                marks = ",".join("?" * len(part))
                for row in self._rows.execute(f"{COPIES_SQL} ({marks})", part):
                    found.setdefault(row[0], []).append(Place(*row))
        return found

    def close(self) -> None:
        """Remove the temporary file."""
        self._rows.close()
        self._directory.cleanup()

    def _load(self) -> None:
        self._rows.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            "CREATE TABLE pack (number INTEGER PRIMARY KEY, key TEXT);"
            "CREATE TABLE record (id BLOB, pack INTEGER, start INTEGER, length INTEGER, digest BLOB);"
        )
        self._tell(f"Reading the indexes of the packs in {self._store.title}…")
        packs = (item for item in self._store.keys(self._folder) if item[0].endswith(SUFFIX))
        self._read_indexes(packs)
        if thawed := self.cold.wait(self._store, self._tell):
            self._read_indexes(iter(thawed))
        if self.cold.packs:
            self._tell(f"{self.cold.sentence()}; what only they hold cannot be read.")
        self._rows.execute("CREATE INDEX record_id ON record (id)")
        self._rows.commit()
        self._loaded = True

    def _read_indexes(self, packs: Iterator[Item]) -> None:
        with ThreadPoolExecutor(READERS, thread_name_prefix="strongroom-index") as pool:
            while batch := list(islice(packs, AT_ONCE)):
                for (key, _), entries in zip(batch, pool.map(self._look, batch), strict=True):
                    self._add(key, entries)

    def _add(self, key: str, entries: Sequence[IndexEntry]) -> None:
        self.packs += 1
        self._rows.execute("INSERT INTO pack VALUES (?, ?)", (self.packs, key))
        rows = ((entry.id, self.packs, entry.offset, entry.length, entry.digest) for entry in entries)
        self._rows.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)

    def _look(self, item: Item) -> list[IndexEntry]:
        key, size = item
        try:
            return self._entries(key, size)
        except Frozen:
            self.cold.packs.append(item)
        except Gone:
            self._tell(f"{key} went away while it was read; what only it holds is missing.")
        except FormatError as fault:
            self._tell(f"{key} is not used: {fault}.")
        return []

    def _entries(self, key: str, size: int) -> list[IndexEntry]:
        self._check_header(key)
        tail_start = max(0, size - TAIL)
        tail = self._read(key, tail_start, size - tail_start)

        def read_at(offset: int, length: int) -> bytes:
            if offset >= tail_start:
                return tail[offset - tail_start : offset - tail_start + length]
            return self._read(key, offset, length)

        try:
            return read_index(read_at, size)
        except FormatError as fault:
            entries = list(salvage_records(lambda offset, length: self._read(key, offset, length), size))
            self._tell(f"{key} has no readable index ({fault.why}); {len(entries)} whole records were found in it.")
            return entries

    def _read(self, key: str, offset: int, length: int) -> bytes:
        """A part of a pack; what the disk does not give is nothing, which no digest takes for a record."""
        try:
            return self._store.read(key, offset, length)
        except Unreadable:
            return b""

    def _check_header(self, key: str) -> None:
        header = decode_pack_header(self._read(key, 0, PACK_HEADER_SIZE))
        name = HEALED.sub("", key.rpartition("/")[2]).removesuffix(SUFFIX)
        if header.vault_id != self._vault_id or header.pack_uid.hex() != name:
            raise FormatError("pack", "is another pack: its header names another vault or id")


def runs(places: Sequence[Place], most: int, gap: int) -> Iterator[list[Place]]:
    """Group places that one read can bring: of one pack, at most `gap` bytes apart, at most `most` bytes together."""
    run: list[Place] = []
    for place in sorted(places, key=lambda item: (item.key, item.offset)):
        near = run and place.key == run[0].key and place.offset - run[-1].end <= gap
        if run and not (near and place.end - run[0].offset <= most):
            yield run
            run = []
        run.append(place)
    if run:
        yield run
