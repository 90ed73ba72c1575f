"""Enrolment blobs: the dedup secret and the signing key's hash, sealed under an enrolment string's one-time key.

``prefix ‖ nonce 12 ‖ ciphertext ‖ tag 16``; aad is ``prefix ‖ vault id ‖ SHA-256(token)``. The server stores the blob
with the token and cannot open it, since the key stands in the string's fragment only.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, decode_body
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

NONCE_SIZE = 12
TAG_SIZE = 16
MAX_BLOB = 2048


class EnrollmentSecret(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a new agent must not learn from the server."""

    epoch: int
    dedup_secret: bytes
    signing_key_hash: bytes
    """SHA-256 of the vault's signing key (SubjectPublicKeyInfo, DER)."""
    vault_record_number: int
    write_only: bool = False
    """Whether roots are not sealed to the machine's own reading key: the kit's holder says so, not the server."""

    def __repr__(self) -> str:
        return f"EnrollmentSecret(epoch={self.epoch}, vault_record_number={self.vault_record_number}, …)"


@dataclass(frozen=True, slots=True)
class EnrollmentBlob:
    """A sealed blob, cut into its fields."""

    nonce: bytes
    ciphertext: bytes
    tag: bytes

    def encode(self) -> bytes:
        """Return the blob's bytes."""
        check_size(self.nonce, NONCE_SIZE, "enrollment blob", "nonce")
        check_size(self.tag, TAG_SIZE, "enrollment blob", "tag")
        return pack_prefix(ObjectType.ENROLLMENT_BLOB) + self.nonce + self.ciphertext + self.tag


def enrollment_aad(vault_id: bytes, token_hash: bytes) -> bytes:
    """Return what the blob's AEAD binds besides the content."""
    check_size(vault_id, ID_SIZE, "enrollment blob", "vault id")
    check_size(token_hash, DIGEST_SIZE, "enrollment blob", "token hash")
    return pack_prefix(ObjectType.ENROLLMENT_BLOB) + vault_id + token_hash


def decode_enrollment_blob(data: bytes) -> EnrollmentBlob:
    """Cut a blob into its fields."""
    if len(data) > MAX_BLOB:
        raise FormatError("enrollment blob", f"is {len(data)} bytes, over the limit of {MAX_BLOB}")
    check_prefix(data, ObjectType.ENROLLMENT_BLOB)
    fields = Fields(data, "enrollment blob", PREFIX_SIZE)
    nonce = fields.take(NONCE_SIZE, "nonce")
    sealed = fields.rest()
    if len(sealed) < TAG_SIZE:
        raise FormatError("enrollment blob", "ends before its tag")
    return EnrollmentBlob(nonce, sealed[:-TAG_SIZE], sealed[-TAG_SIZE:])


def encode_enrollment_secret(secret: EnrollmentSecret) -> bytes:
    """Return the plaintext of a blob."""
    return msgspec.msgpack.encode(secret)


def decode_enrollment_secret(data: bytes) -> EnrollmentSecret:
    """Read the plaintext of a blob."""
    secret = decode_body(data, EnrollmentSecret, "enrollment blob")
    check_size(secret.dedup_secret, DIGEST_SIZE, "enrollment blob", "dedup secret")
    check_size(secret.signing_key_hash, DIGEST_SIZE, "enrollment blob", "signing key hash")
    return secret
