"""What the agent remembers of the latest snapshot, so that an unchanged file is not read. Disposable.

One row a manifest segment: a small head, the keys by which unchanged entries are known, and the segment's plaintext
(which holds `h`, a read capability: the file is 0600, and what is deleted is overwritten). A segment in which nothing
changed is used again as it is, undecoded. New rows are staged during a backup; which rows are valid is one record,
the layout, which is switched in one transaction after the server acknowledged the commit. Whatever is damaged, or
belongs to another vault, epoch or machine, is thrown away: the next backup then reads every file, and stays right.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import zstandard
from blake3 import blake3

from agents.engine.codecs import CodecFault, decompress
from agents.engine.describing import Key
from agents.engine.manifests import Counts, EncodedSegment
from protocol.stored.chunks import MAX_CHUNK_PLAIN
from protocol.stored.manifests import ChunkRef, Segment, decode_segment
from protocol.stored.prefix import PREFIX_SIZE
from protocol.stored.roots import SegmentRef

FORMAT = 1
#: Bounds for reading: a damaged cache must not fill the memory.
MAX_KEYS = 64 << 20
MAX_LAYOUT = 512 << 20
#: What reading a damaged file may raise: sqlite3 cannot even decode the error text when it quotes a spoilt schema.
UNREADABLE = (sqlite3.Error, UnicodeError)

T = TypeVar("T")


class CacheFault(Exception):
    """The cache cannot be used. The sentence is for the user; the backup goes on without it."""


class Binding(msgspec.Struct, frozen=True):
    """Whose cache it is."""

    vault_id: bytes
    epoch: int
    machine_id: bytes
    format: int = FORMAT


class Bundle(msgspec.Struct, frozen=True, array_like=True):
    """A bundle that the latest snapshot uses: its plaintext's length, and the sequence number it was made in."""

    length: int
    born: int


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The small part of a row."""

    ref: SegmentRef
    counts: tuple[int, int, int, int]
    usage: dict[bytes, int]
    keys_digest: bytes
    plain_digest: bytes


class Layout(msgspec.Struct, frozen=True):
    """Which rows make up a snapshot, in order, and what was true of it. `statement` is its statement's digest."""

    rows: list[tuple[int, bytes]]
    bundles: dict[bytes, Bundle]
    generation: int
    statement: bytes
    #: Paths that could not be read to their end: their keys say nothing.
    half_read: list[bytes] = []


@dataclass(slots=True)
class CachedSegment:
    """One segment of the latest snapshot. `tainted`: it must be looked through entry by entry."""

    row: int
    digest: bytes
    head: Head
    tainted: bool = False

    @property
    def counts(self) -> Counts:
        return Counts(*self.head.counts)


class Cache:
    """Use from one thread. `notes` are sentences for the user."""

    def __init__(self, path: Path, binding: Binding) -> None:
        self._path = path
        self._binding = binding
        self.notes: list[str] = []
        self._broken = False
        self._database = self._open()
        self._compress = zstandard.ZstdCompressor(level=1, write_checksum=False)

    # --- opening ---------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except (CacheFault, *UNREADABLE, msgspec.MsgspecError, OSError) as fault:
            reason = str(fault) if isinstance(fault, CacheFault) else "it is damaged"
            self.notes.append(f"The cache was thrown away ({reason}); every file is read again.")
        self._delete()
        try:
            return self._connect()
        except (CacheFault, *UNREADABLE, OSError):
            self.notes.append("The cache cannot be written; the next backup will read every file again.")
            self._broken = True
            return _prepare(sqlite3.connect(":memory:", isolation_level=None), self._binding)

    def _connect(self) -> sqlite3.Connection:
        # SQLite would make the file by the umask; its side files take over the mode of the file.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        os.chmod(self._path, 0o600)
        database = sqlite3.connect(self._path, isolation_level=None, timeout=10)
        try:
            return _prepare(database, self._binding)
        except BaseException:
            database.close()
            raise

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with suppress(OSError):
                os.unlink(f"{self._path}{suffix}")

    @property
    def is_usable(self) -> bool:
        """Whether what is staged can be read again."""
        return not self._broken

    def discard(self, reason: str) -> None:
        """Throw everything away in the middle of a run; what follows is staged into a new cache."""
        self.close()
        self._delete()
        self.notes.append(f"The cache was thrown away ({reason}); every file is read again.")
        self._database = self._open()

    def close(self) -> None:
        """Leave no side files behind: they would hold what is deleted here."""
        with suppress(*UNREADABLE):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with suppress(*UNREADABLE):
            self._database.close()

    # --- reading ---------------------------------------------------------------------------------

    def layout(self) -> Layout | None:
        """The layout of the latest acknowledged snapshot, None without one. CacheFault when it is damaged."""
        return self._layout("layout")

    def _layout(self, name: str) -> Layout | None:
        row = self._one("SELECT value, digest FROM fact WHERE name = ?", name)
        if row is None:
            return None
        value, digest = _blobs(row)
        if len(value) > MAX_LAYOUT or blake3(value).digest() != digest:
            raise CacheFault("it is damaged")
        return _decoded(value, Layout)

    def segments(self, layout: Layout) -> list[CachedSegment]:
        """The layout's segments in path order. CacheFault when one is missing or damaged."""
        return [self._segment(row, digest) for row, digest in layout.rows]

    def _segment(self, row: int, digest: bytes) -> CachedSegment:
        found = self._one("SELECT head FROM segment WHERE id = ?", row)
        head = _blobs(found)[0] if found else b""
        if blake3(head).digest() != digest:
            raise CacheFault("it is damaged")
        return CachedSegment(row, digest, _decoded(head, Head))

    def keys(self, segment: CachedSegment) -> list[Key]:
        """The keys of the paths that begin in a segment, in path order."""
        return _decoded(self._body(segment, "keys", segment.head.keys_digest, MAX_KEYS), list[Key])

    def content(self, segment: CachedSegment) -> Segment:
        """The segment, decoded."""
        try:
            return decode_segment(self._body(segment, "plain", segment.head.plain_digest, MAX_CHUNK_PLAIN))
        except Exception as fault:
            raise CacheFault("it is damaged") from fault

    def chunk_ids(self, segment: CachedSegment) -> list[bytes]:
        """The ids of the chunks that a segment's files need."""
        plain = self._body(segment, "plain", segment.head.plain_digest, MAX_CHUNK_PLAIN)
        table, _ = _decoded(plain[PREFIX_SIZE:], tuple[list[ChunkRef], msgspec.Raw])
        return [ref.id for ref in table]

    def _body(self, segment: CachedSegment, column: str, digest: bytes, limit: int) -> bytes:
        found = self._one(f"SELECT {column} FROM segment WHERE id = ?", segment.row)  # noqa: S608 - two fixed names
        packed = _blobs(found)[0] if found else b""
        if blake3(packed).digest() != digest:
            raise CacheFault("it is damaged")
        try:
            return decompress(packed, limit)
        except CodecFault as fault:
            raise CacheFault("it is damaged") from fault

    def _one(self, query: str, *values: object) -> tuple[object, ...] | None:
        try:
            row: tuple[object, ...] | None = self._database.execute(query, values).fetchone()
        except UNREADABLE as fault:
            raise CacheFault("it is damaged") from fault
        return row

    # --- writing ---------------------------------------------------------------------------------

    def stage(self, encoded: EncodedSegment, ref: SegmentRef) -> CachedSegment:
        """Write a new segment's row. It is valid only once a layout that names it is switched to."""
        keys = self._compress.compress(msgspec.msgpack.encode(encoded.keys))
        plain = self._compress.compress(encoded.plain)
        counts = encoded.counts
        head = Head(
            ref,
            (counts.files, counts.directories, counts.others, counts.bytes),
            encoded.usage,
            blake3(keys).digest(),
            blake3(plain).digest(),
        )
        packed = msgspec.msgpack.encode(head)
        row = self._write("INSERT INTO segment (head, keys, plain) VALUES (?, ?, ?)", packed, keys, plain)
        return CachedSegment(row, blake3(packed).digest(), head)

    def stage_layout(self, layout: Layout) -> None:
        """Note what the snapshot that is about to be committed consists of."""
        value = msgspec.msgpack.encode(layout)
        self._write("REPLACE INTO fact VALUES ('staged', ?, ?)", value, blake3(value).digest())
        self._end_transaction()

    def switch(self, statement: bytes) -> bool:
        """The snapshot with this statement's digest was acknowledged: its layout is the valid one from now on.

        False, and nothing changes, when another one (or none) is staged.
        """
        try:
            staged = self._layout("staged")
        except CacheFault:
            staged = None
        if self._broken or staged is None or staged.statement != statement:
            return False
        self._write("REPLACE INTO fact SELECT 'layout', value, digest FROM fact WHERE name = 'staged'")
        self._write("DELETE FROM fact WHERE name = 'staged'")
        self._keep(row for row, _ in staged.rows)
        self._end_transaction()
        return not self._broken

    def forget_staged(self) -> None:
        """Remove what an earlier run staged and never committed."""
        try:
            layout = self._layout("layout")
        except CacheFault:
            layout = None
        self._write("DELETE FROM fact WHERE name = 'staged'")
        self._keep(row for row, _ in (layout.rows if layout else ()))
        self._end_transaction()

    def _keep(self, rows: Iterable[int]) -> None:
        self._write("CREATE TEMP TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY)")
        self._write("DELETE FROM kept")
        if not self._broken:
            self._database.executemany("INSERT OR IGNORE INTO kept VALUES (?)", ((row,) for row in rows))
        self._write("DELETE FROM segment WHERE id NOT IN (SELECT id FROM kept)")

    def _write(self, statement: str, *values: object) -> int:
        """Execute inside the open transaction. A full disk costs the cache, not the backup."""
        if self._broken:
            return 0
        try:
            if not self._database.in_transaction:
                self._database.execute("BEGIN IMMEDIATE")
            return self._database.execute(statement, values).lastrowid or 0
        except UNREADABLE:
            self._give_up()
            return 0

    def _end_transaction(self) -> None:
        if self._broken or not self._database.in_transaction:
            return
        try:
            self._database.execute("COMMIT")
        except UNREADABLE:
            self._give_up()

    def _give_up(self) -> None:
        self._broken = True
        self.notes.append("The cache could not be written; the next backup may read files again that did not change.")
        with suppress(*UNREADABLE):
            self._database.execute("ROLLBACK")


def _prepare(database: sqlite3.Connection, binding: Binding) -> sqlite3.Connection:
    for pragma in ("page_size = 8192", "journal_mode = WAL", "synchronous = NORMAL", "secure_delete = ON"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("PRAGMA wal_autocheckpoint = 4000")
    database.execute(
        "CREATE TABLE IF NOT EXISTS segment "
        "(id INTEGER PRIMARY KEY AUTOINCREMENT, head BLOB NOT NULL, keys BLOB NOT NULL, plain BLOB NOT NULL)"
    )
    database.execute(
        "CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL)"
    )
    found = database.execute("SELECT value FROM fact WHERE name = 'binding'").fetchone()
    ours = msgspec.msgpack.encode(binding)
    if found is None:
        database.execute("INSERT INTO fact VALUES ('binding', ?, ?)", (ours, blake3(ours).digest()))
    elif found[0] != ours:
        raise CacheFault("it belongs to another vault, epoch, machine or version")
    return database


def _blobs(row: tuple[object, ...]) -> list[bytes]:
    """The row's values, none of which may be anything but bytes."""
    blobs = [value for value in row if isinstance(value, bytes)]
    if len(blobs) != len(row):
        raise CacheFault("it is damaged")
    return blobs


def _decoded(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as fault:
        raise CacheFault("it is damaged") from fault
