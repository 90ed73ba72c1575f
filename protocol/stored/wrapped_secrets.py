"""The dedup secret of one epoch, wrapped to a recipient.

``prefix ‖ vault ‖ epoch u32 ‖ key hash 32 ‖ length u16 ‖ wrapped``.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, Fields, check_size, sized
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

MAX_WRAPPED = 4096


@dataclass(frozen=True, slots=True)
class WrappedSecret:
    """A wrapped dedup secret. ``key_hash`` is the SHA-256 of the recipient's SubjectPublicKeyInfo (DER)."""

    vault_id: bytes
    epoch: int
    key_hash: bytes
    wrapped: bytes
    algorithm: int = 1

    def encode(self) -> bytes:
        """Return the object's bytes."""
        check_size(self.vault_id, ID_SIZE, "wrapped dedup secret", "vault id")
        check_size(self.key_hash, DIGEST_SIZE, "wrapped dedup secret", "key hash")
        head = pack_prefix(ObjectType.WRAPPED_SECRET, self.algorithm) + self.vault_id + self.epoch.to_bytes(4, "big")
        return head + self.key_hash + sized(self.wrapped, 2, MAX_WRAPPED, "wrapped dedup secret", "wrapped secret")


def decode_wrapped_secret(data: bytes) -> WrappedSecret:
    """Read a wrapped dedup secret."""
    algorithm = check_prefix(data, ObjectType.WRAPPED_SECRET)
    fields = Fields(data, "wrapped dedup secret", PREFIX_SIZE)
    vault_id = fields.take(ID_SIZE, "vault id")
    epoch = fields.number(4, "epoch")
    key_hash = fields.take(DIGEST_SIZE, "key hash")
    wrapped = fields.sized(2, MAX_WRAPPED, "wrapped secret")
    fields.end()
    return WrappedSecret(vault_id, epoch, key_hash, wrapped, algorithm)
