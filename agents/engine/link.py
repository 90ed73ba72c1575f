"""What the engine needs from outside to make a backup: a link to the server, a home on disk, an author, a listener.

Everything here is an interface or a plain record, so that the engine runs as well over TLS as over a dictionary in a
test. Ids and digests are 32 bytes, session and snapshot ids 16 bytes, times whole microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from agents.keys.rsa import PrivateKey, PublicKey

KIND_CHUNK = 1
KIND_BLOCK = 2

NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Begun:
    """The server's answer to begin."""

    session: bytes
    fence: int
    #: The vault's catalogue generation. When it differs from the cache's, every cached id is asked about again.
    generation: int
    #: Chunk ids of this machine that are damaged or lost on the server; files that use them are read again.
    wanted: frozenset[bytes] = frozenset()
    #: Digest and sequence number of the newest statement of this machine that the server has (zeros, 0: none).
    head: bytes = NO_DIGEST
    head_sequence: int = 0
    #: Id of the newest committed, undamaged snapshot of this machine, b"" for none.
    base: bytes = b""


@dataclass(frozen=True, slots=True)
class CommitAnswer:
    """The server's answer to commit: either a snapshot, or the ids (chunks or blocks) that it lacks."""

    snapshot: bytes = b""
    state: str = ""
    received_at: int = 0
    missing: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a commit says about its run; the fields of COMMIT's statistics."""

    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    files: int = 0
    directories: int = 0
    #: Content bytes that the snapshot describes.
    bytes: int = 0
    #: Content bytes that were read from the sources in this run.
    bytes_read: int = 0
    #: Sealed bytes of chunks and reference blocks that were handed to the link.
    bytes_sent: int = 0
    chunks_sent: int = 0
    errors: int = 0
    duration_s: float = 0.0


class BackupLink(Protocol):
    """The engine's way to the server. Every method may be called from any thread.

    Failures are raised as `agents.errors` exceptions, by the call itself or, for `ask`, through the future. The link
    reconnects by itself within its patience: it begins the session again and sends again what was not acknowledged;
    the engine sees only a call that takes longer. If the catalogue generation is another one after that, `generation`
    says so, and the engine does not commit before it has asked about every id again.
    """

    @property
    def generation(self) -> int:
        """The catalogue generation of the newest BEGUN."""
        ...

    def begin(self, generation: int, head: bytes, head_sequence: int) -> Begun:
        """Begin (or take up again) this machine's session. `generation` is the cache's, 0 without a cache."""
        ...

    def ask(self, ids: Sequence[bytes]) -> Future[set[bytes]]:
        """Ask which of at most 4,096 ids (chunks or blocks) the server lacks. Answers may come in any order."""
        ...

    def put(self, kind: int, identity: bytes, digest: bytes, sealed: bytes) -> None:
        """Send one record. Returns when it is in the window (not when it is durable), blocks while the window is full.

        `digest` is BLAKE3 of `sealed`. The bytes are kept until the server acknowledged them as durable.
        """
        ...

    def drain(self) -> None:
        """Return when everything that was put is acknowledged as durable."""
        ...

    def commit(
        self,
        statement: bytes,
        root: bytes,
        recipients: Sequence[bytes],
        blocks: Sequence[bytes],
        statistics: Statistics,
    ) -> CommitAnswer:
        """Publish the snapshot. Repeating it with the same statement gets the same answer."""
        ...

    def interrupt(self) -> None:
        """Make every blocked and every later call of the other methods raise at once. Never blocks, never raises."""
        ...


class BackupHome(Protocol):
    """What the engine keeps on disk beside its sources. `agents.state.AgentHome` is the real one.

    Statements live outside the disposable cache. `save_pending_statement` is durable (fsync) when it returns.
    """

    @property
    def cache_path(self) -> Path: ...

    def last_statement(self) -> bytes | None:
        """The encoded statement of the last commit that was acknowledged, None before the first."""
        ...

    def pending_statement(self) -> bytes | None:
        """The encoded statement that was being committed when the agent last heard nothing, None if there is none."""
        ...

    def save_pending_statement(self, statement: bytes) -> None: ...

    def promote_pending_statement(self) -> None:
        """The pending statement was acknowledged: it becomes the last one, and nothing is pending."""
        ...

    def drop_pending_statement(self) -> None:
        """The server never took the pending statement: nothing is pending any more."""
        ...


class Recipient(Protocol):
    """Somebody whom a root is sealed to. `kind` is that of a recipient record: 1 vault, 2 machine, 3 further.

    What `VaultRecord.recipients` returns is of this shape.
    """

    @property
    def kind(self) -> int: ...

    @property
    def key(self) -> PublicKey: ...


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes the snapshot, and to whom it is sealed: from the agent's own files and a *verified* vault record."""

    tenant_id: bytes
    vault_id: bytes
    machine_id: bytes
    machine_name: str
    epoch: int
    #: epoch -> dedup secret, the current epoch included. Never printed.
    secrets: Mapping[int, bytes] = field(repr=False)
    identity: PrivateKey = field(repr=False)
    recipients: Sequence[Recipient] = ()


FileState = Literal["new", "changed", "unmodified"]


class Progress(Protocol):
    """Who is told how a backup goes. Called from several threads, often: implementations only count."""

    def scanned(self, files: int, size: int) -> None:
        """So many more files were found, with so many bytes of content."""
        ...

    def file(self, state: FileState, count: int = 1) -> None:
        """So many more files are dealt with."""
        ...

    def sent(self, size: int) -> None:
        """So many more sealed bytes were handed to the link."""
        ...

    def error(self, path: bytes, reason: str) -> None:
        """A source could not be saved as it should; the backup goes on."""
        ...


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How to back up. Patterns are those of a .gitignore file, matched against the path without its leading slash."""

    exclude: Sequence[str] = ()
    #: Lines that take back in what `exclude` left out; the same patterns, without the exclamation mark.
    include: Sequence[str] = ()
    #: Pseudo file systems, swap files and, unless `cache_dir_tags` says otherwise, directories with a CACHEDIR.TAG are
    #: left out.
    default_exclusions: bool = True
    cache_dir_tags: bool | None = None
    #: Larger files (bytes), and files that have not changed for longer (days), are left out.
    max_file_size: int | None = None
    max_file_age_days: int | None = None
    one_file_system: bool = False
    #: Do not trust the cache: read every file again.
    force_read: bool = False
    tags: Sequence[str] = ()
    #: "fastcdc-1m", or "fastcdc-64k" for disk images and databases.
    chunker: str = "fastcdc-1m"
    #: Threads that hash, compress and seal; 0 chooses by the number of processors.
    workers: int = 0
    zstd_level: int = 2
    #: A cache of its own for backups with other sources: "" is the machine's. Letters, digits and hyphens.
    cache: str = ""


@dataclass(frozen=True, slots=True)
class SourceFault:
    """A source that could not be saved as it should."""

    path: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class GroupCompression:
    """What compression did for the files of one extension group."""

    plain: int
    sealed: int
    skipped: int


@dataclass(frozen=True, slots=True)
class BackupResult:
    """The outcome of a backup that was committed. `errors > 0` means exit code 3."""

    snapshot_id: bytes
    state: str
    sequence: int
    files_new: int
    files_changed: int
    files_unmodified: int
    files: int
    directories: int
    others: int
    bytes: int
    bytes_read: int
    bytes_sent: int
    chunks_sent: int
    duration_s: float
    #: How many sources were not saved, or changed while they were read. `faults` names the first 1,000 of them.
    errors: int
    faults: Sequence[SourceFault]
    #: Sentences for the user: a cache that was thrown away, sockets that were recorded but hold no content, ...
    notes: Sequence[str]
    compression: Mapping[str, GroupCompression]
