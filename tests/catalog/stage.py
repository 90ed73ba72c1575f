"""A small stage for the catalogue's tests: machines that back up through the real services, into real pack files.

Content stands for sealed bytes (the server cannot tell), its BLAKE3 for the chunk's id.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

from blake3 import blake3
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss
from django.utils import timezone

from backup_platform.catalog import arrivals, commit, present, sessions, stores
from backup_platform.catalog import jobs as catalog_jobs
from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.running import run_job
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep import scrub_jobs
from backup_platform.vaults.models import Vault
from protocol.stored import packs
from protocol.stored.blocks import block_id, encode_block
from protocol.stored.recipients import RecipientKind, RecipientRecord
from protocol.stored.roots import RootHeader, encode_root_header
from protocol.stored.statements import Statement, blocks_hash

SPOOL = "spool-1"
CHUNK, BLOCK = packs.RecordKind.CHUNK, packs.RecordKind.REFERENCE_BLOCK
WORK = {
    "strongroom.verify_pack": catalog_jobs.verify,
    "strongroom.deduplicate_pack": catalog_jobs.deduplicate,
    "strongroom.complete_snapshot": catalog_jobs.complete,
    "strongroom.scrub_one": scrub_jobs.scrub,
    "strongroom.heal_one": scrub_jobs.heal,
    "strongroom.make_parity": scrub_jobs.parity,
}


@cache
def rsa_key(number: int) -> RSA.RsaKey:
    return RSA.generate(2048)


def digest(data: bytes) -> bytes:
    return blake3(data).digest()


def make_vault(name: str, number: int) -> Vault:
    with without_tenant_scope("the stage is set"):
        tenant = Tenant.objects.create(name=name)
        return Vault.objects.create(
            id=uuid4(),
            number=number,
            tenant=tenant,
            name=f"{name}-vault",
            record=b"the vault record",
            record_number=1,
            signing_key_hash=bytes(32),
        )


def make_machine(vault: Vault, name: str, key: int = 0) -> Machine:
    spki = rsa_key(key).public_key().export_key("DER")
    with tenant_scope(vault.tenant_id):
        return Machine.objects.create(
            tenant_id=vault.tenant_id,
            vault=vault,
            name=name,
            identity_hash=os.urandom(32),
            identity_key=spki,
            reading_key=spki,
            certificate=b"",
            certificate_until=timezone.now() + timedelta(days=90),
            record=b"the machine record",
        )


@dataclass
class PackFile:
    """A pack in the spool, written as the gateway writes it."""

    vault: Vault
    uid: UUID = field(default_factory=uuid4)
    entries: list[packs.IndexEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_bytes(packs.encode_pack_header(self.vault.pk.bytes, self.uid.bytes))

    @property
    def path(self) -> Path:
        return stores.spool_path(f"{SPOOL}/{self.uid.hex}.open")

    def append(self, kind: int, sealed: bytes, record_id: bytes | None = None) -> arrivals.Arrival:
        record_id = record_id or digest(sealed)
        offset = self.path.stat().st_size + packs.RECORD_HEADER_SIZE
        with self.path.open("ab") as file:
            file.write(packs.encode_record_header(kind, record_id, len(sealed), digest(sealed)) + sealed)
        self.entries.append(packs.IndexEntry(kind, record_id, offset, len(sealed), digest(sealed)))
        return arrivals.Arrival(int(kind), record_id, offset, len(sealed))

    def seal(self) -> tuple[bytes, int, int]:
        start = self.path.stat().st_size
        index = packs.encode_index(self.entries)
        with self.path.open("ab") as file:
            file.write(index + packs.encode_trailer(start, len(self.entries), index))
        whole = self.path.read_bytes()
        self.path.rename(self.path.with_suffix(".pack"))
        return digest(whole), len(whole), len(self.entries)


@dataclass
class Proposed:
    """A commit's parts, ready to be sent or spoilt."""

    statement: bytes
    root: bytes
    recipients: list[bytes]
    blocks: bytes

    def send(self, machine: Machine, begun: sessions.Begun) -> commit.Committed | commit.MissingIds:
        return commit.commit_snapshot(
            machine, begun.session, begun.fence, self.statement, self.root, self.recipients, self.blocks, {"files": 1}
        )


@dataclass
class Backup:
    """One machine's backup, step by step."""

    machine: Machine
    key: int = 0
    begun: sessions.Begun | None = None

    @property
    def vault(self) -> Vault:
        return Vault.objects.get(pk=self.machine.vault_id)

    def begin(self) -> sessions.Begun:
        self.begun = sessions.begin_session(self.machine, SPOOL)
        return self.begun

    def send(self, *segments: list[bytes], omit: frozenset[bytes] = frozenset()) -> Pack | None:
        """Send what the server lacks of these segments' contents and blocks, in one sealed pack."""
        records = [(CHUNK, content) for contents in segments for content in contents]
        records += [(BLOCK, block_of(contents)) for contents in segments]
        missing = present.missing_ids(self.vault.number, [digest(content) for _, content in records])
        lacking = {digest(c): (kind, c) for kind, c in records if digest(c) in missing and c not in omit}
        return self.send_records(list(lacking.values())) if lacking else None

    def send_records(self, records: list[tuple[int, bytes]], *, seal: bool = True) -> Pack:
        file = PackFile(self.vault)
        pack = arrivals.open_pack(self.begun.session, self.begun.fence, uid=file.uid, spool=SPOOL)
        rows = [file.append(kind, sealed) for kind, sealed in records]
        arrivals.record_arrivals(self.begun.session, self.begun.fence, pack.pk, rows)
        if seal:
            arrivals.seal_pack(pack.pk, *file.seal())
        return Pack.objects.get(pk=pack.pk)

    def propose(self, *segments: list[bytes], **changes: object) -> Proposed:
        blocks = b"".join(digest(block_of(contents)) for contents in segments)
        sequence = int(changes.get("sequence", self.begun.head_sequence + 1))
        header = RootHeader(
            self.machine.tenant_id.bytes, self.machine.vault_id.bytes, 1, self.machine.pk.bytes, sequence, bytes(32)
        )
        root = encode_root_header(header) + os.urandom(12 + 64)
        fields = {
            "vault_id": self.machine.vault_id.bytes,
            "epoch": 1,
            "machine_id": self.machine.pk.bytes,
            "sequence": sequence,
            "time": int(time.time() * 1e6),
            "previous": self.begun.head,
            "root_hash": digest(root),
            "blocks_hash": blocks_hash(blocks),
        }
        statement = sign(Statement(**{**fields, **changes}), self.key)
        recipient = RecipientRecord(RecipientKind(1), bytes(32), digest(root), os.urandom(256))
        return Proposed(statement.encode(), root, [recipient.encode()], blocks)

    def run(self, *segments: list[bytes]) -> commit.Committed:
        """A whole backup, to its commit."""
        self.begin()
        self.send(*segments)
        answer = self.propose(*segments).send(self.machine, self.begun)
        assert isinstance(answer, commit.Committed), answer
        return answer


def block_of(contents: list[bytes]) -> bytes:
    block = encode_block(digest(content) for content in contents)
    assert block_id(block) == digest(block)
    return block


def sign(statement: Statement, key: int) -> Statement:
    signature = pss.new(rsa_key(key), salt_bytes=32).sign(SHA256.new(statement.signed_bytes()))
    return statement.with_signature(signature)


def contents(count: int, size: int = 1000) -> list[bytes]:
    return [os.urandom(size) for _ in range(count)]


def run_jobs(*, most: int = 200) -> int:
    """Do every due job as workers would, until none is left."""
    done = 0
    while job := _next_job():
        run_job(job.pk, WORK[route_of(job.kind, job.subject).task])
        done += 1
        assert done < most, "the work list does not come to an end"
    return done


def _next_job() -> Job | None:
    return Job.objects.filter(state=JobState.QUEUED, next_attempt_at__lte=timezone.now()).order_by("created_at").first()


def state_of(committed: commit.Committed) -> str:
    return Snapshot.objects.get(pk=committed.snapshot).state


def pack_path(pack: Pack) -> Path:
    """Where the pack's file is now."""
    pack.refresh_from_db()
    if pack.place == "target":
        return stores.home() / "store" / pack.path
    return stores.spool_path(pack.path)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
