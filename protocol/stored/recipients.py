"""Recipient records: a root's key, wrapped to one recipient. Objects of their own, so that they can be re-wrapped.

``prefix (its algorithm names the wrapping) ‖ kind u8 ‖ key hash 32 ‖ root hash 32 ‖ length u16 ‖ wrapped key``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, Fields, check_size, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

MAX_WRAPPED = 4096
"""RSA-4096 wraps to 512 bytes; the rest is room for a hybrid that also carries an ML-KEM ciphertext."""
MAX_RECIPIENTS = 32


class RecipientKind(IntEnum):
    """Who a recipient is."""

    VAULT = 1
    MACHINE = 2
    FURTHER = 3


@dataclass(frozen=True, slots=True)
class RecipientRecord:
    """A root's key for one recipient. ``key_hash`` is the SHA-256 of the recipient's SubjectPublicKeyInfo (DER)."""

    kind: RecipientKind
    key_hash: bytes
    root_hash: bytes
    wrapped: bytes
    algorithm: int = 1

    def encode(self) -> bytes:
        """Return the record's bytes."""
        check_size(self.key_hash, DIGEST_SIZE, "recipient record", "key hash")
        check_size(self.root_hash, DIGEST_SIZE, "recipient record", "root hash")
        head = pack_prefix(ObjectType.RECIPIENT_RECORD, self.algorithm) + bytes((self.kind,))
        tail = sized(self.wrapped, 2, MAX_WRAPPED, "recipient record", "wrapped key")
        return head + self.key_hash + self.root_hash + tail


def decode_recipient(data: bytes) -> RecipientRecord:
    """Read one recipient record."""
    algorithm = check_prefix(data, ObjectType.RECIPIENT_RECORD)
    fields = Fields(data, "recipient record", PREFIX_SIZE)
    number = fields.number(1, "kind")
    if number not in tuple(RecipientKind):
        raise FormatError("recipient record", f"is of kind {number}, which this program does not know")
    key_hash = fields.take(DIGEST_SIZE, "key hash")
    root_hash = fields.take(DIGEST_SIZE, "root hash")
    wrapped = fields.sized(2, MAX_WRAPPED, "wrapped key")
    fields.end()
    return RecipientRecord(RecipientKind(number), key_hash, root_hash, wrapped, algorithm)


def join_recipients(records: list[bytes]) -> bytes:
    """Return the file that holds all recipient records of a root: ``count u8 ‖ (length u16 ‖ record)…``."""
    if len(records) > MAX_RECIPIENTS:
        raise FormatError("recipient records", f"{len(records)} are over the limit of {MAX_RECIPIENTS}")
    parts = [sized(record, 2, 0xFFFF, "recipient records", "record") for record in records]
    return bytes((len(records),)) + b"".join(parts)


def split_recipients(data: bytes) -> list[bytes]:
    """Return the recipient records of such a file, each still encoded."""
    fields = Fields(data, "recipient records")
    count = fields.number(1, "count")
    if count > MAX_RECIPIENTS:
        raise FormatError("recipient records", f"{count} are over the limit of {MAX_RECIPIENTS}")
    records = [fields.sized(2, 0xFFFF, "record") for _ in range(count)]
    fields.end()
    return records
