"""Machines for backup tests: a home on disk, keys, and a reader that opens what was stored and compares it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents.engine.backing_up import back_up
from agents.engine.link import Author, BackupOptions, BackupResult
from agents.engine.paths import path_key
from agents.engine.sealing import ChunkOpener, open_root
from agents.engine.streaming import Stream
from agents.keys.rsa import PrivateKey, load_private
from protocol.stored.manifests import Entry, EntryType, decode_segment
from protocol.stored.roots import RootBody
from tests.engine.memory_link import MemoryLink, Snapshot, Vault

SECRET = bytes(range(32))
VAULT_ID = b"V" * 16
#: Trust only what is this old (describing.TICK_NS), so a test that wants a warm cache waits for it.
TICK = 0.03


@cache
def key(name: str) -> PrivateKey:
    """A key made once for a run of tests (by OpenSSL, which is quicker). `name` only tells them apart."""
    made = rsa.generate_private_key(65537, 3072)
    return load_private(made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


@dataclass(frozen=True)
class NamedKey:
    kind: int
    key: object


@dataclass
class Counting:
    """A progress that counts."""

    found: int = 0
    size: int = 0
    states: dict[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    errors: list[tuple[bytes, str]] = field(default_factory=list)

    def scanned(self, files: int, size: int) -> None:
        self.found += files
        self.size += size

    def file(self, state: str, count: int = 1) -> None:
        self.states[state] = self.states.get(state, 0) + count

    def sent(self, size: int) -> None:
        self.bytes_sent += size

    def error(self, path: bytes, reason: str) -> None:
        self.errors.append((path, reason))


class Home:
    """Statements and a cache in a directory."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path

    @property
    def cache_path(self) -> Path:
        return self.path / "cache.sqlite"

    def last_statement(self) -> bytes | None:
        return self._read("last")

    def pending_statement(self) -> bytes | None:
        return self._read("pending")

    def save_pending_statement(self, statement: bytes) -> None:
        (self.path / "pending").write_bytes(statement)

    def promote_pending_statement(self) -> None:
        (self.path / "pending").rename(self.path / "last")

    def drop_pending_statement(self) -> None:
        (self.path / "pending").unlink()

    def _read(self, name: str) -> bytes | None:
        path = self.path / name
        return path.read_bytes() if path.exists() else None


class Machine:
    """One enrolled machine of a vault in memory."""

    def __init__(self, directory: Path, vault: Vault, name: str = "alpha") -> None:
        self.name = name
        self.vault = vault
        self.home = Home(directory / f"home-{name}")
        self.id = blake3(name.encode()).digest()[:16]
        self.progress = Counting()
        self.link = MemoryLink(vault, self.id)

    def author(self) -> Author:
        return Author(
            tenant_id=b"T" * 16,
            vault_id=VAULT_ID,
            machine_id=self.id,
            machine_name=self.name,
            epoch=1,
            secrets={1: SECRET},
            identity=key("identity"),
            recipients=[NamedKey(1, key("opening").public)],
        )

    def connect(self) -> MemoryLink:
        self.link = MemoryLink(self.vault, self.id)
        return self.link

    def back_up(
        self,
        *paths: Path | bytes,
        connect: bool = True,
        cancel: threading.Event | None = None,
        stream: Stream | None = None,
        **options: object,
    ) -> BackupResult:
        """Back up over a fresh link; every answer of the engine is checked against the store."""
        if connect:
            self.connect()
        self.progress = Counting()
        result = back_up(
            [os.fsencode(path) for path in paths],
            self.link,
            self.home,
            self.author(),
            BackupOptions(**options),
            self.progress,
            cancel,
            stream,
        )
        assert result.bytes_sent == self.link.bytes_put == self.progress.bytes_sent
        assert result.errors == len(self.progress.errors)
        return result

    def snapshot(self) -> Snapshot:
        return self.vault.snapshots[self.id][-1]

    def opened(self, snapshot: Snapshot | None = None) -> OpenedSnapshot:
        return OpenedSnapshot(self.vault, snapshot or self.snapshot())


class OpenedSnapshot:
    """A snapshot, opened with the vault's opening key from nothing but what the server stores."""

    def __init__(self, vault: Vault, snapshot: Snapshot) -> None:
        self.vault = vault
        self.root: RootBody = open_root(snapshot.root, snapshot.recipients, key("opening"))
        self.opener = ChunkOpener(VAULT_ID, self.root.secrets)
        self._chunks: dict[bytes, bytes] = {}
        self.entries: dict[bytes, list[tuple[Entry, list[tuple[bytes, bytes, int, int]]]]] = {}
        self.order: list[bytes] = []
        for ref in self.root.segments:
            plain = self.chunk(ref.chunk_id, ref.hash)
            assert len(plain) == ref.length
            segment = decode_segment(plain)
            assert len(segment.entries) == ref.entries
            assert (segment.entries[0].path, segment.entries[-1].path) == (ref.first_path, ref.last_path)
            for entry in segment.entries:
                pieces = [
                    (segment.chunks[e.chunk].id, segment.chunks[e.chunk].hash, e.offset, e.length)
                    for e in entry.extents
                ]
                if entry.part == 0:
                    self.order.append(entry.path)
                self.entries.setdefault(entry.path, []).append((entry, pieces))
        assert self.order == sorted(self.order, key=path_key)
        assert len(self.order) == len(set(self.order))

    def chunk(self, chunk_id: bytes, h: bytes) -> bytes:
        if chunk_id not in self._chunks:
            self._chunks[chunk_id] = self.opener.open(self.vault.records[1, chunk_id], chunk_id, h)
        return self._chunks[chunk_id]

    def entry(self, path: Path | bytes) -> Entry:
        parts = self.entries[os.fsencode(path)]
        assert [entry.part for entry, _ in parts] == list(range(len(parts)))
        assert [entry.last for entry, _ in parts] == [False] * (len(parts) - 1) + [True]
        return parts[-1][0]

    def pieces(self, path: Path | bytes) -> Iterator[memoryview]:
        for _, pieces in self.entries[os.fsencode(path)]:
            for chunk_id, h, offset, length in pieces:
                piece = memoryview(self.chunk(chunk_id, h))[offset : offset + length]
                assert len(piece) == length
                yield piece

    def content(self, path: Path | bytes) -> bytes:
        return b"".join(self.pieces(path))

    def paths(self) -> set[bytes]:
        return set(self.order)

    def assert_equals(self, *sources: Path | bytes, without: Sequence[Path | bytes] = ()) -> None:
        """Every path under the sources is in the snapshot as it is on disk, and nothing else is but the ways there."""
        left_out = {os.fsencode(path) for path in without}
        expected: set[bytes] = set()
        for source in map(os.fsencode, sources):
            expected |= {path for path in walk(source) if not any(_within(path, each) for each in left_out)}
            expected |= ways_to(source)
        assert self.paths() == expected
        for path in expected:
            self.assert_entry(path)

    def assert_entry(self, path: bytes) -> None:
        entry, info = self.entry(path), os.lstat(path)
        assert (entry.mode, entry.uid, entry.gid) == (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
        if stat.S_ISDIR(info.st_mode):
            assert entry.type == EntryType.DIRECTORY
            return
        assert entry.mtime_ns == info.st_mtime_ns
        if stat.S_ISLNK(info.st_mode):
            assert (entry.type, entry.link) == (EntryType.SYMLINK, os.readlink(path))
        if stat.S_ISREG(info.st_mode):
            content = self.content(path)
            with open(path, "rb") as file:
                assert content == file.read()
            assert (entry.type, entry.size) == (EntryType.FILE, len(content))
            assert entry.digest == blake3(content).digest()


def walk(source: bytes) -> Iterator[bytes]:
    yield source
    if stat.S_ISDIR(os.lstat(source).st_mode):
        for name in os.listdir(source):
            yield from walk(source.rstrip(b"/") + b"/" + name)


def ways_to(source: bytes) -> set[bytes]:
    ways = set()
    while source != b"/":
        source = os.path.dirname(source)
        ways.add(source)
    return ways


def _within(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")
