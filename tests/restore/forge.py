"""Snapshots made by hand, honest or hostile, and a source in memory that serves them: what a restorer may meet."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents.engine.placing import PlacingOptions
from agents.engine.reading import SnapshotReader, Trust
from agents.engine.restoring import Restorer, RestoreResult, Target
from agents.engine.sealing import ChunkSealer, OpeningFault, VaultSecrets, seal_root
from agents.keys import machine_record
from agents.keys.rsa import PrivateKey, load_private
from agents.keys.statement import sign_statement
from agents.keys.vault_record import NamedKey
from protocol.stored.blocks import block_id, encode_block
from protocol.stored.manifests import ChunkRef, Entry, EntryType, Extent, Segment, encode_segment
from protocol.stored.recipients import RecipientKind
from protocol.stored.roots import RootBody, SegmentRef
from protocol.stored.statements import NO_PREVIOUS, Statement, blocks_hash
from protocol.wire import messages

TENANT, VAULT, MACHINE = b"T" * 16, b"V" * 16, b"M" * 16
SECRET = bytes(range(32))
EPOCH = 1


@cache
def key(label: str) -> PrivateKey:
    made = rsa.generate_private_key(65537, 3072)
    return load_private(made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


SEALER = ChunkSealer(VaultSecrets(VAULT, EPOCH, SECRET))


@cache
def record(identity: str = "identity", secret: bytes = SECRET, machine: bytes = MACHINE) -> bytes:
    return machine_record.make(
        vault_id=VAULT,
        machine_id=machine,
        epoch=EPOCH,
        write_only=False,
        identity_key=key(identity).public,
        reading_key=key("reading").public,
        dedup_secret=secret,
    )


def trust(**changes) -> Trust:
    return replace(Trust(TENANT, VAULT, SECRET, key("reading"), own_record=record()), **changes)


# --- entries -----------------------------------------------------------------------------------------


@dataclass
class Draft:
    """An entry to be, with the content of its extents."""

    entry: Entry
    pieces: list[bytes] = field(default_factory=list)
    extents: list[Extent] | None = None


def file(path: bytes, content: bytes = b"", **changes) -> Draft:
    pieces = changes.pop("pieces", [content] if content else [])
    extents = changes.pop("extents", None)
    values = {"mode": 0o644, "size": len(content), "digest": blake3(content).digest(), "mtime_ns": 1, **changes}
    return Draft(entry(path, EntryType.FILE, **values), pieces, extents)


def directory(path: bytes, mode: int = 0o755, **changes) -> Draft:
    return Draft(entry(path, EntryType.DIRECTORY, mode=mode, mtime_ns=2, **changes))


def link(path: bytes, target: bytes, **changes) -> Draft:
    return Draft(entry(path, EntryType.SYMLINK, mode=0o777, link=target, mtime_ns=3, **changes))


def special(path: bytes, kind: EntryType) -> Draft:
    return Draft(entry(path, kind, mode=0o644, device=0x103))


def entry(path: bytes, kind: EntryType, **values) -> Entry:
    return Entry(path, kind, values.pop("mode"), os.getuid(), os.getgid(), **values)


# --- a server in memory ------------------------------------------------------------------------------


@dataclass
class Made:
    """A snapshot as a server would hold it."""

    statement: Statement
    root: bytes
    recipients: list[bytes]
    blocks: bytes

    @property
    def id(self) -> bytes:
        return self.statement.snapshot_id


class Shelf:
    """Holds snapshots and chunks and serves them as `agents.engine.reading.Source`. Tests damage it as they like."""

    def __init__(self) -> None:
        self.made: list[Made] = []
        self.chunks: dict[bytes, bytes] = {}
        self.records = [record()]
        self.fetched: list[bytes] = []
        self.told: list[messages.Fate] | None = None  # what it says of snapshots that it does not list; None: it is old
        self.asked: list[tuple[int, int]] = []

    def keep(self, plaintext: bytes) -> ChunkRef:
        h, chunk_id = SEALER.identify(plaintext)
        self.chunks[chunk_id] = SEALER.seal(plaintext, h, chunk_id)
        return ChunkRef(chunk_id, h)

    def segment(self, drafts: Sequence[Draft]) -> SegmentRef:
        refs: list[ChunkRef] = []
        entries: list[Entry] = []
        for draft in drafts:
            start = len(refs)
            refs += [self.keep(piece) for piece in draft.pieces]
            whole = [Extent(start + index, 0, len(piece)) for index, piece in enumerate(draft.pieces)]
            shifted = [Extent(start + each.chunk, each.offset, each.length) for each in draft.extents or ()]
            entries.append(_with_extents(draft.entry, shifted if draft.extents is not None else whole))
        plaintext = encode_segment(Segment(refs, entries))
        ref = self.keep(plaintext)
        block = encode_block([ref.id, *(each.id for each in refs)])
        self.chunks[block_id(block)] = block
        ends = (entries[0].path, entries[-1].path)
        return SegmentRef(*ends, ref.id, ref.hash, block_id(block), len(plaintext), len(entries))

    def snapshot(self, *segments: Sequence[Draft], **changes) -> Made:
        """Publish a snapshot of these segments of entries."""
        refs = [self.segment(drafts) for drafts in segments]
        body = RootBody(
            machine_name="alpha", sources=[b"/"], started_at=1, finished_at=2, secrets={EPOCH: SECRET}, segments=refs
        )
        previous = self.made[-1].statement if self.made else None
        sequence = previous.sequence + 1 if previous else 1
        header = {"tenant_id": TENANT, "vault_id": VAULT, "epoch": EPOCH, "machine_id": MACHINE, "sequence": sequence}
        recipients = [NamedKey(RecipientKind.MACHINE, key("reading").public)]
        sealed = seal_root(body, **{**header, **changes.pop("header", {})}, recipients=recipients)
        blocks = b"".join(ref.block_id for ref in refs)
        values = {
            "vault_id": VAULT,
            "epoch": EPOCH,
            "machine_id": MACHINE,
            "sequence": sequence,
            "time": 1_700_000_000_000_000 + sequence,
            "previous": previous.digest if previous else NO_PREVIOUS,
            "root_hash": sealed.digest,
            "blocks_hash": blocks_hash(blocks),
            **changes.pop("statement", {}),
        }
        signer = key(changes.pop("signer", "identity"))
        assert not changes, changes
        made = Made(sign_statement(signer, **values), sealed.file, sealed.records, blocks)
        self.made.append(made)
        return made

    # --- Source ---

    def snapshots(self) -> Iterator[messages.Snapshots]:
        items = [self.item(made) for made in reversed(self.made)]
        yield messages.Snapshots(items=items, machine_records=self.records)

    def item(self, made: Made) -> messages.SnapshotItem:
        statement = made.statement
        return messages.SnapshotItem(
            id=made.id,
            machine_id=MACHINE,
            machine_name="alpha",
            sequence=statement.sequence,
            state="received",
            received_at=statement.time,
            machine_time=statement.time,
            statement=statement.encode(),
        )

    def root(self, snapshot: bytes) -> tuple[messages.RootIs, bytes]:
        made = next(each for each in self.made if each.id == snapshot)
        said = messages.RootIs(
            statement=made.statement.encode(),
            recipients=made.recipients,
            machine_record=self.records[0] if self.records else b"",
            blocks=made.blocks,
        )
        return said, made.root

    def explain(self, first: int, last: int) -> Iterator[messages.Explained] | None:
        self.asked.append((first, last))
        return None if self.told is None else iter([messages.Explained(fates=[one]) for one in self.told])

    def fetch(self, snapshot: bytes, block: bytes, ids: Sequence[bytes]) -> dict[bytes, Future]:
        futures: dict[bytes, Future] = {}
        for chunk_id in ids:
            self.fetched.append(chunk_id)
            futures[chunk_id] = Future()
            if chunk_id in self.chunks:
                futures[chunk_id].set_result(self.chunks[chunk_id])
            else:
                futures[chunk_id].set_exception(OpeningFault("The server could not read a stored chunk."))
        return futures


def _with_extents(given: Entry, extents: list[Extent]) -> Entry:
    values = {name: getattr(given, name) for name in given.__struct_fields__}
    return Entry(**{**values, "extents": extents})


class Notes:
    """A RestoreProgress that remembers what it was told."""

    def __init__(self) -> None:
        self.errors: dict[bytes, str] = {}
        self.files = 0

    def restored(self, files: int, size: int) -> None:
        self.files += files

    def error(self, path: bytes, reason: str) -> None:
        self.errors[path] = reason


@dataclass
class Restored:
    target: Path
    result: RestoreResult
    errors: dict[bytes, str]

    def tree(self) -> dict[str, str]:
        """What is there: kind and content, by path."""
        found = {}
        for path in sorted(self.target.rglob("*")):
            info = path.lstat()
            name = str(path.relative_to(self.target))
            if stat.S_ISLNK(info.st_mode):
                found[name] = f"-> {path.readlink()}"
            elif stat.S_ISDIR(info.st_mode):
                found[name] = "dir"
            else:
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        return found


def restore(shelf: Shelf, target: Path, path: bytes = b"/", overwrite: bool = False, **changes) -> Restored:
    """Restore the newest snapshot of the shelf."""
    reader = SnapshotReader(shelf, trust(**changes.pop("trust", {})))
    opened = reader.open(reader.find("latest"))
    notes = Notes()
    options = PlacingOptions(overwrite=overwrite, **changes)
    with Target(target, overwrite=overwrite) as descriptor:
        result = Restorer(opened, path, descriptor, options, notes).run()
    return Restored(target, result, notes.errors)


def restore_entries(target: Path, drafts: Iterable[Draft], **changes) -> Restored:
    """Restore a snapshot of one segment."""
    shelf = Shelf()
    shelf.snapshot(list(drafts))
    return restore(shelf, target, **changes)
