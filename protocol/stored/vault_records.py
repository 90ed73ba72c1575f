"""Vault records: who a vault's snapshots are sealed to, signed by the vault's signing key.

``prefix ‖ length u32 ‖ body (MessagePack map) ‖ length u16 ‖ signature``. Signed are a context string, the prefix and
the body with its length.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, decode_body, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

VAULT_RECORD_CONTEXT = b"strongroom/v1/vault-record\0"
MAX_BODY = 256 * 1024
MAX_KEY = 8192
MAX_SIGNATURE = 1024
MAX_FURTHER_RECIPIENTS = 16


class Recipient(msgspec.Struct, frozen=True):
    """A further recipient of every snapshot of a vault (an auditor's key, a second site's). ``key`` is SPKI DER."""

    name: str
    algorithm: int
    key: bytes


class VaultRecordBody(msgspec.Struct, frozen=True, kw_only=True):
    """What a vault record says. Keys are SubjectPublicKeyInfo in DER; ``created_at`` in microseconds."""

    number: int
    """Starts at 1 and only grows: an agent refuses one lower than it has seen."""
    vault_id: bytes
    epoch: int
    opening_key: bytes
    signing_key: bytes
    recipients: list[Recipient] = []
    created_at: int = 0
    secret_commitment: bytes | msgspec.UnsetType = msgspec.UNSET
    """Says which dedup secret is the vault's in this epoch without telling it. Wrapped secrets alone prove nothing:
    whoever has the opening key's public half can wrap one of their own."""


@dataclass(frozen=True, slots=True)
class SignedVaultRecord:
    """A vault record as stored: the body read, and the bytes that its signature is over."""

    body: VaultRecordBody
    body_bytes: bytes
    signature: bytes

    def encode(self) -> bytes:
        """Return the record's bytes."""
        return unsigned_record(self.body_bytes) + sized(self.signature, 2, MAX_SIGNATURE, "vault record", "signature")

    def signed_bytes(self) -> bytes:
        """Return what the signature is made over."""
        return VAULT_RECORD_CONTEXT + unsigned_record(self.body_bytes)


def unsigned_record(body_bytes: bytes) -> bytes:
    """Return a vault record without its signature."""
    return pack_prefix(ObjectType.VAULT_RECORD) + sized(body_bytes, 4, MAX_BODY, "vault record", "body")


def encode_vault_body(body: VaultRecordBody) -> bytes:
    """Return the body's bytes."""
    return msgspec.msgpack.encode(body)


def decode_vault_record(data: bytes) -> SignedVaultRecord:
    """Read a vault record; its signature is not checked here."""
    check_prefix(data, ObjectType.VAULT_RECORD)
    fields = Fields(data, "vault record", PREFIX_SIZE)
    body_bytes = fields.sized(4, MAX_BODY, "body")
    signature = fields.sized(2, MAX_SIGNATURE, "signature")
    fields.end()
    body = decode_body(body_bytes, VaultRecordBody, "vault record")
    _check_body(body)
    return SignedVaultRecord(body, body_bytes, signature)


def _check_body(body: VaultRecordBody) -> None:
    check_size(body.vault_id, ID_SIZE, "vault record", "vault id")
    if body.secret_commitment is not msgspec.UNSET:
        check_size(body.secret_commitment, DIGEST_SIZE, "vault record", "commitment to the dedup secret")
    if not 1 <= body.number < 1 << 63 or not 0 < body.epoch < 1 << 32:
        raise FormatError("vault record", "its number or epoch is out of bounds")
    if len(body.recipients) > MAX_FURTHER_RECIPIENTS:
        raise FormatError("vault record", f"names more than {MAX_FURTHER_RECIPIENTS} further recipients")
    keys = [body.opening_key, body.signing_key, *(recipient.key for recipient in body.recipients)]
    if any(not 0 < len(key) <= MAX_KEY for key in keys):
        raise FormatError("vault record", "the length of a key is out of bounds")
