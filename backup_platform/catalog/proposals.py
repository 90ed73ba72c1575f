"""What an agent proposes at commit, checked for everything that needs no catalogue: formats, hashes, ids, signature."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from blake3 import blake3

from backup_platform.catalog.errors import InvalidCommit
from backup_platform.catalog.signatures import SignatureRefused, check_statement_signature
from backup_platform.fleet.models import Machine
from backup_platform.vaults.models import Vault
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.recipients import RecipientKind, decode_recipient, join_recipients
from protocol.stored.roots import RootHeader, decode_root
from protocol.stored.statements import Statement, blocks_hash, decode_statement

MAX_BLOCKS = 32_768
"""Reference blocks of a snapshot: what a commit's body of 1 MiB holds; at 65,536 ids each, far beyond any machine."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FILE_COUNTS = ("files_new", "files_changed", "files_unmodified", "files", "directories", "errors")
COUNTS = frozenset({*FILE_COUNTS, "bytes", "bytes_read", "bytes_sent", "chunks_sent", "duration_s"})


@dataclass(frozen=True, slots=True)
class Proposal:
    """A commit that is sound in itself. `blocks` are the ids of its reference blocks in manifest order."""

    statement: Statement
    statement_bytes: bytes
    root: bytes
    recipients: bytes
    blocks: list[bytes]
    machine_time: datetime

    @property
    def snapshot_id(self) -> UUID:
        return UUID(bytes=self.statement.snapshot_id)


def check_proposal(
    machine: Machine, vault: Vault, statement: bytes, root: bytes, recipients: Sequence[bytes], blocks: bytes
) -> Proposal:
    """Read a commit and check it against the machine that sent it. Raises InvalidCommit with the fault named."""
    try:
        decoded = decode_statement(statement)
        _check_owner(decoded, machine, vault)
        _check_root(decoded, root, machine)
        _check_blocks(decoded, blocks)
        joined = _check_recipients(decoded, recipients)
        _check_write_only(machine, recipients)
        check_statement_signature(decoded, bytes(machine.identity_key))
        machine_time = EPOCH + timedelta(microseconds=decoded.time)
    except (FormatError, SignatureRefused) as fault:
        raise InvalidCommit(str(fault)) from None
    except OverflowError:
        raise InvalidCommit("The statement's time is out of range.") from None
    ids = [blocks[i : i + DIGEST_SIZE] for i in range(0, len(blocks), DIGEST_SIZE)]
    return Proposal(decoded, bytes(statement), bytes(root), joined, ids, machine_time)


def known_counts(statistics: dict[str, object]) -> dict[str, int | float]:
    """The statistics that we know, if they are plain numbers that are not negative; the rest is dropped."""
    numbers = {name: value for name, value in statistics.items() if name in COUNTS and type(value) in (int, float)}
    return {name: value for name, value in numbers.items() if 0 <= value < 2**63}  # type: ignore[operator,misc]


def _check_owner(statement: Statement, machine: Machine, vault: Vault) -> None:
    if statement.machine_id != machine.pk.bytes:
        raise InvalidCommit("The statement names another machine.")
    if statement.vault_id != vault.pk.bytes:
        raise InvalidCommit("The statement names another vault.")
    if statement.epoch != vault.epoch:
        raise InvalidCommit(f"The statement is of key epoch {statement.epoch}; the vault's is {vault.epoch}.")


def _check_root(statement: Statement, root: bytes, machine: Machine) -> None:
    if blake3(root).digest() != statement.root_hash:
        raise InvalidCommit("The root is not the one that the statement names.")
    said = decode_root(root).header
    expected = RootHeader(
        tenant_id=machine.tenant_id.bytes,
        vault_id=statement.vault_id,
        epoch=statement.epoch,
        machine_id=statement.machine_id,
        sequence=statement.sequence,
        commitment=said.commitment,
    )
    if said != expected:
        raise InvalidCommit("The root's header does not agree with its statement.")


def _check_blocks(statement: Statement, blocks: bytes) -> None:
    if len(blocks) % DIGEST_SIZE or len(blocks) > MAX_BLOCKS * DIGEST_SIZE:
        raise InvalidCommit("The list of reference blocks is cut short, or too long.")
    if blocks_hash(blocks) != statement.blocks_hash:
        raise InvalidCommit("The reference blocks are not those that the statement names.")


def _check_recipients(statement: Statement, recipients: Sequence[bytes]) -> bytes:
    if not recipients:
        raise InvalidCommit("A root without recipients could never be opened.")
    if any(decode_recipient(record).root_hash != statement.root_hash for record in recipients):
        raise InvalidCommit("A recipient record belongs to another root.")
    return join_recipients([bytes(record) for record in recipients])


def _check_write_only(machine: Machine, recipients: Sequence[bytes]) -> None:
    """A write-only machine's roots are for the kit's holder: whoever steals its disk shall open none of them.

    A record says itself for whom it is. What a hostile machine hides behind another key's name it could as well keep.
    """
    if not machine.write_only:
        return
    own = hashlib.sha256(bytes(machine.reading_key)).digest()
    named = [decode_recipient(record) for record in recipients]
    if any(one.kind == RecipientKind.MACHINE or one.key_hash == own for one in named):
        raise InvalidCommit(
            "This machine is write-only, so its own reading key is no recipient of its snapshots: seal the root to the "
            "vault's recipients alone. If the machine should read its backups, enrol it again without --write-only."
        )
