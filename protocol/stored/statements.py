"""Statements: what an agent signs about a snapshot; a machine's statements form a chain.

``prefix ‖ vault ‖ epoch u32 ‖ machine ‖ sequence u64 ‖ time u64 ‖ previous 32 ‖ root hash 32 ‖ blocks hash 32 ‖
signature length u16 ‖ signature``. Signed are a context string and everything before the signature's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from blake3 import blake3

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

STATEMENT_CONTEXT = b"strongroom/v1/statement\0"
NO_PREVIOUS = bytes(DIGEST_SIZE)
"""What the first statement of a machine names as the one before it."""
MAX_SIGNATURE = 1024


@dataclass(frozen=True, slots=True)
class Statement:
    """A snapshot's statement. ``time`` is the machine's own, in microseconds; ``sequence`` starts at 1."""

    vault_id: bytes
    epoch: int
    machine_id: bytes
    sequence: int
    time: int
    previous: bytes
    """BLAKE3 of the whole previous statement, its signature included."""
    root_hash: bytes
    """BLAKE3 of the whole root file (the sealed body, not the recipient records, which may change)."""
    blocks_hash: bytes
    """BLAKE3 of the reference blocks' ids, joined in manifest order."""
    signature: bytes = b""

    def unsigned(self) -> bytes:
        """Return everything before the signature's length."""
        for field, value in (("vault id", self.vault_id), ("machine id", self.machine_id)):
            check_size(value, ID_SIZE, "statement", field)
        for value in (self.previous, self.root_hash, self.blocks_hash):
            check_size(value, DIGEST_SIZE, "statement", "digest")
        head = pack_prefix(ObjectType.STATEMENT) + self.vault_id + self.epoch.to_bytes(4, "big") + self.machine_id
        numbers = self.sequence.to_bytes(8, "big") + self.time.to_bytes(8, "big")
        return head + numbers + self.previous + self.root_hash + self.blocks_hash

    def signed_bytes(self) -> bytes:
        """Return what the signature is made over."""
        return STATEMENT_CONTEXT + self.unsigned()

    def with_signature(self, signature: bytes) -> Statement:
        """Return this statement, signed."""
        return replace(self, signature=signature)

    def encode(self) -> bytes:
        """Return the statement's bytes."""
        return self.unsigned() + sized(self.signature, 2, MAX_SIGNATURE, "statement", "signature")

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the whole statement: what the next one names as its previous."""
        return blake3(self.encode()).digest()

    @property
    def snapshot_id(self) -> bytes:
        """The snapshot's id: the first 16 bytes of the digest, so that repeating a commit names the same snapshot."""
        return self.digest[:ID_SIZE]


def decode_statement(data: bytes) -> Statement:
    """Read one statement; its signature is not checked here."""
    check_prefix(data, ObjectType.STATEMENT)
    fields = Fields(data, "statement", PREFIX_SIZE)
    statement = Statement(
        vault_id=fields.take(ID_SIZE, "vault id"),
        epoch=fields.number(4, "epoch"),
        machine_id=fields.take(ID_SIZE, "machine id"),
        sequence=fields.number(8, "sequence number"),
        time=fields.number(8, "time"),
        previous=fields.take(DIGEST_SIZE, "previous digest"),
        root_hash=fields.take(DIGEST_SIZE, "root hash"),
        blocks_hash=fields.take(DIGEST_SIZE, "blocks hash"),
        signature=fields.sized(2, MAX_SIGNATURE, "signature"),
    )
    fields.end()
    if statement.sequence == 0:
        raise FormatError("statement", "has sequence number 0")
    return statement


def blocks_hash(block_ids: bytes) -> bytes:
    """Return the digest of a list of reference blocks, joined in manifest order (n × 32 bytes)."""
    return blake3(block_ids).digest()


def choose_statement(same_number: Sequence[Statement], following: Statement | None) -> Statement:
    """Return the statement that counts among several of one number of a machine.

    A commit that was refused late leaves its statement in the store, and the agent makes another of the same number.
    The one that the following statement names as its previous is right; without one, the later by the machine's clock.
    """
    for statement in same_number:
        if following is not None and following.previous == statement.digest:
            return statement
    return max(same_number, key=lambda statement: (statement.time, statement.digest))
