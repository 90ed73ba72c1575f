"""Snapshots as a reader sees them: nothing that the server says is believed before it is proved.

A statement counts only under a key whose machine record verifies; a root only when the statement names it and its
header agrees; reference blocks only when they are the statement's; a segment only when it opens to what the root says
of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from blake3 import blake3

from agents.engine.open_directories import HostileEntry
from agents.engine.paths import is_within, path_key
from agents.engine.sealing import ChunkOpener, OpeningFault, open_root
from agents.errors import Damage, NotFound
from agents.keys import machine_record
from agents.keys.statement import Head, check_chain, verify_statement
from protocol.stored.blocks import MAX_BLOCK_IDS
from protocol.stored.errors import FormatError
from protocol.stored.manifests import Entry, Segment, decode_segment
from protocol.stored.roots import RootBody, SegmentRef, decode_root
from protocol.stored.statements import Statement, decode_statement

if TYPE_CHECKING:
    from agents.engine.absences import Absence
    from agents.keys.machine_record import TrustedMachine
    from agents.keys.rsa import PrivateKey
    from protocol.wire import Buffer
    from protocol.wire.messages import Explained, RootIs, SnapshotItem, Snapshots

LATEST = "latest"
SHORTEST_PREFIX = 4


class Source(Protocol):
    """Where snapshots come from; `agents.transport.reading_link.ReadingLink` is the real one."""

    def snapshots(self) -> Iterable[Snapshots]: ...

    def root(self, snapshot: bytes) -> tuple[RootIs, bytes]: ...

    def fetch(self, snapshot: bytes, block: bytes, ids: Sequence[bytes]) -> dict[bytes, Future[Buffer]]: ...

    def explain(self, first: int, last: int) -> Iterable[Explained] | None: ...


@dataclass(frozen=True)
class Trust:
    """By what a reader judges, all of it from the machine's own files or the kit.

    `key` opens roots. `own_record` and `head` are this machine's own record and newest statement when it reads its own
    snapshots. With the kit the server says which machine has the name that was asked for, so the name stands here too:
    a root has to repeat it (empty: not asked).
    """

    tenant_id: bytes
    vault_id: bytes
    dedup_secret: bytes = field(repr=False)
    key: PrivateKey = field(repr=False)
    own_record: bytes = b""
    head: Head | None = None
    machine_name: str = ""


@dataclass(frozen=True)
class Listed:
    """A snapshot of a list whose statement verified: `item` is what the server says, `statement` what is proved."""

    item: SnapshotItem
    statement: Statement

    @property
    def name(self) -> str:
        return self.item.id.hex()


class Gap(NamedTuple):
    """Numbers that are not listed, with the listed statements around them; `older` is None where there is none."""

    first: int
    last: int
    newer: Statement
    older: Statement | None = None


class SnapshotReader:
    """Lists, finds and opens the snapshots of one machine."""

    def __init__(self, source: Source, trust: Trust) -> None:
        self._source = source
        self._trust = trust
        self._machine: TrustedMachine | None = None
        self._gaps: list[Gap] = []
        if trust.own_record:
            self._machine = machine_record.check(trust.own_record, trust.dedup_secret, vault_id=trust.vault_id)

    # --- lists -----------------------------------------------------------------------------------

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """First and last sequence numbers that the last list did not show, newest first: expired, or hidden."""
        return [(gap.first, gap.last) for gap in self._gaps]

    def listed(self) -> Iterator[Listed]:
        """Yield every snapshot, the newest first. Raises Damage at a statement that is forged or out of its chain."""
        newer: Listed | None = None
        self._gaps = []
        for page in self._source.snapshots():
            self._meet(page.machine_records)
            for item in page.items:
                listed = self._check_item(item)
                self._check_place(listed, newer)
                yield listed
                newer = listed
        if newer is None:
            self._check_head(None)
        elif newer.statement.sequence > 1:
            self._gaps.append(Gap(1, newer.statement.sequence - 1, newer.statement))

    def find(self, name: str) -> Listed:
        """Return the snapshot that `latest`, an id or a unique prefix names. Raises NotFound."""
        if name == LATEST:
            for listed in self.listed():
                return listed
            advice = "Make one with `strongroom backup`."
            if not self._trust.own_record:
                advice = "Name the machine whose snapshots you want with --machine."
            raise NotFound("There is no snapshot of this machine yet.", advice)
        wanted = name.lower()
        found = [each for each in self.listed() if each.name.startswith(wanted)] if wanted else []
        if len(found) == 1 and len(wanted) >= SHORTEST_PREFIX:
            return found[0]
        if len(found) > 1:
            raise NotFound(f"'{name}' is too short: it names {len(found)} snapshots.", "Give more digits.")
        if found:
            raise NotFound(f"'{name}' is too short.", f"Give at least {SHORTEST_PREFIX} digits of an id.")
        from agents.engine.absence_words import no_such

        raise no_such(name, self.absences())

    def absences(self) -> list[Absence]:
        """What is known of the numbers that the last whole list did not show, newest first. Raises AgentError."""
        from agents.engine.absences import explain

        return explain(self._gaps, self._source.explain, self._verify) if self._gaps else []

    def _meet(self, records: Iterable[bytes]) -> None:
        """Take the machine from the first record that verifies, unless it is known already."""
        for record in records:
            if self._machine is None:
                self._machine = machine_record.check(record, self._trust.dedup_secret, vault_id=self._trust.vault_id)

    def _check_item(self, item: SnapshotItem) -> Listed:
        try:
            statement = decode_statement(item.statement)
        except FormatError as fault:
            raise Damage(f"The statement of snapshot {item.id.hex()[:8]} is damaged: {fault.why}.") from None
        if statement.snapshot_id != item.id:
            raise Damage(
                f"The server shows another statement for snapshot {item.id.hex()[:8]} than the one it is named by."
            )
        self._verify(statement)
        return Listed(item, statement)

    def _verify(self, statement: Statement) -> None:
        if self._machine is None:
            raise Damage("The server gave no machine record, so no statement can be checked.")
        verify_statement(
            statement,
            self._machine.identity_key,
            vault_id=self._trust.vault_id,
            machine_id=self._machine.machine_id,
        )

    def _check_place(self, listed: Listed, newer: Listed | None) -> None:
        """Check the chain between neighbours, and note the gaps that a list alone cannot explain."""
        if newer is None:
            self._check_head(listed)
            return
        older, later = listed.statement, newer.statement
        if later.sequence > older.sequence + 1:
            self._gaps.append(Gap(older.sequence + 1, later.sequence - 1, later, older))
            return
        assert self._machine is not None
        check_chain(
            [older, later],
            self._machine.identity_key,
            vault_id=self._trust.vault_id,
            machine_id=self._machine.machine_id,
            whole=False,
        )

    def _check_head(self, newest: Listed | None) -> None:
        """Refuse a list that lacks the newest snapshot that this machine remembers to have made."""
        if self._trust.head is None or self._machine is None:
            return
        check_chain(
            [newest.statement] if newest else [],
            self._machine.identity_key,
            vault_id=self._trust.vault_id,
            machine_id=self._machine.machine_id,
            head=self._trust.head,
            whole=False,
        )

    # --- one snapshot ----------------------------------------------------------------------------

    def open(self, listed: Listed) -> OpenedSnapshot:
        """Fetch a snapshot's root, check it against the statement, and open it."""
        said, file = self._source.root(listed.item.id)
        statement = listed.statement
        if said.statement != listed.item.statement:
            raise Damage("The server gives another statement with the root than it lists.")
        if blake3(file).digest() != statement.root_hash:
            raise Damage("The snapshot's root is not the one that the machine signed for.")
        if blake3(said.blocks).digest() != statement.blocks_hash:
            raise Damage("The snapshot's reference blocks are not those that the machine signed for.")
        self._check_header(file, statement)
        body = open_root(file, said.recipients, self._trust.key)
        if b"".join(ref.block_id for ref in body.segments) != said.blocks:
            raise Damage("The snapshot's root names other reference blocks than the machine signed for.")
        if self._trust.machine_name not in ("", body.machine_name):
            raise Damage(
                f"The server gave a snapshot of the machine '{body.machine_name}' where one of "
                f"'{self._trust.machine_name}' was asked for: nothing of it is restored."
            )
        return OpenedSnapshot(listed, body, ChunkOpener(self._trust.vault_id, body.secrets), self._source)

    def _check_header(self, file: bytes, statement: Statement) -> None:
        try:
            header = decode_root(file).header
        except FormatError as fault:
            raise Damage(f"The snapshot's root is damaged: {fault.why}.") from None
        says = (header.tenant_id, header.vault_id, header.epoch, header.machine_id, header.sequence)
        trusted = (self._trust.tenant_id, self._trust.vault_id)
        if says != (*trusted, statement.epoch, statement.machine_id, statement.sequence):
            raise Damage("The snapshot's root belongs to another tenant, vault, machine or place in the chain.")


@dataclass(frozen=True)
class SegmentRead:
    """A segment that was asked for; `read` waits for it."""

    ref: SegmentRef
    sealed: Future[Buffer]
    opener: ChunkOpener = field(repr=False)

    def read(self) -> Segment:
        """Return the segment. Raises Damage when it is not what the root says."""
        plaintext = self.opener.open(self.sealed.result(), self.ref.chunk_id, self.ref.hash)
        try:
            segment = decode_segment(plaintext)
        except FormatError as fault:
            raise OpeningFault(f"A part of the manifest is damaged: {fault.why}.") from None
        ends = (segment.entries[0].path, segment.entries[-1].path) if segment.entries else (b"", b"")
        if ends != (self.ref.first_path, self.ref.last_path) or len(segment.entries) != self.ref.entries:
            raise OpeningFault("A part of the manifest lists something else than the root says.")
        if len(segment.chunks) >= MAX_BLOCK_IDS:
            raise OpeningFault("A part of the manifest names more chunks than it may.")
        return segment


class OpenedSnapshot:
    """A snapshot whose root was opened. Segments and chunks are fetched when they are needed, and no others."""

    def __init__(self, listed: Listed, body: RootBody, opener: ChunkOpener, source: Source) -> None:
        self.listed = listed
        self.body = body
        self.opener = opener
        self._source = source

    def fetch(self, block: bytes, ids: Sequence[bytes]) -> dict[bytes, Future[Buffer]]:
        """Ask for sealed chunks of one of this snapshot's reference blocks."""
        return self._source.fetch(self.listed.item.id, block, ids)

    def segment(self, ref: SegmentRef) -> SegmentRead:
        """Ask for one segment."""
        return SegmentRead(ref, self.fetch(ref.block_id, [ref.chunk_id])[ref.chunk_id], self.opener)

    def segments(self, path: bytes = b"/") -> Iterator[SegmentRead]:
        """Yield the segments that hold `path` or what lies under it, one asked for ahead of the one in use."""
        waiting: SegmentRead | None = None
        for ref in self.body.segments:
            if may_hold(ref, path):
                asked = self.segment(ref)
                if waiting is not None:
                    yield waiting
                waiting = asked
        if waiting is not None:
            yield waiting

    def entries(self, path: bytes = b"/") -> Iterator[Entry]:
        """Yield the entries at and under `path` in path order. Raises Damage when the order is broken."""
        order = PathOrder()
        for asked in self.segments(path):
            for entry in asked.read().entries:
                if is_within(entry.path, path):
                    try:
                        order.check(entry)
                    except HostileEntry as fault:
                        raise Damage(f"The manifest is damaged: {fault}.") from None
                    yield entry


class PathOrder:
    """Sees to it that entries come in path order, each path once; this also finds every duplicate."""

    def __init__(self) -> None:
        self._key: bytes | None = None
        self._part = 0
        self._open = False

    def check(self, entry: Entry) -> None:
        """Raise HostileEntry for an entry that does not come after the one before it. A refused entry is forgotten."""
        key = path_key(entry.path)
        if self._key is not None and key <= self._key and not self._continues(key, entry):
            raise HostileEntry("it comes twice or out of order")
        if entry.part and not self._continues(key, entry):
            raise HostileEntry("it is a part of a file whose beginning is missing")
        self._key, self._part, self._open = key, entry.part, not entry.last

    def _continues(self, key: bytes, entry: Entry) -> bool:
        return self._open and key == self._key and entry.part == self._part + 1


def may_hold(ref: SegmentRef, path: bytes) -> bool:
    """Whether a segment can hold `path` or something under it."""
    if path == b"/":
        return True
    key = path_key(path)
    # Everything under the path begins with its key and a NUL, so it sorts before the key followed by a 1.
    return path_key(ref.first_path) < key + b"\x01" and path_key(ref.last_path) >= key
