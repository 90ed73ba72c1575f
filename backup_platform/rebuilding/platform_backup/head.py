"""The head of a platform's backup: whose key opens it, and what the platform says of it under its signature.

``prefix (type 13, algorithm 2) ‖ operator's key hash 32 ‖ u16 ‖ wrapped key ‖ number u64 ‖ time u64 ‖ previous 32 ‖
u16 ‖ signer's SPKI ‖ u16 ‖ signature`` (docs/storage-format.md). Algorithm 1 ended after the wrapped key.

Only the head is signed, and that is enough: nobody but the platform, which forgets it, and the operator's private key
has the key that is wrapped there, and AES-GCM binds each piece to that key and to the head. So who made a file is known
before one byte of it is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from blake3 import blake3

from backup_platform.vaults.public_keys import MAX_SPKI, PublicKeyRefused, check_public_key, key_hash, signature_matches
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

from .signing_key import SIGNER_BITS, SigningKey

UNSIGNED, SIGNED = 1, 2
CONTEXT = b"strongroom/v1/platform-backup-head\0"
FIRST_PREVIOUS = bytes(DIGEST_SIZE)
MAX_WRAPPED = 4096
MAX_SIGNATURE = 512
MAX_TIME = 253_402_300_799_000_000
"""The last microsecond that a calendar shows."""
WHAT = "platform backup"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Said:
    """What the platform says of a backup: its number, when it was begun (microseconds since 1970), the BLAKE3 of the
    head of the one before (zeros for the first)."""

    number: int
    made_at: int
    previous: bytes

    @property
    def time(self) -> datetime:
        """When the backup was begun, by the platform's clock."""
        return EPOCH + timedelta(microseconds=self.made_at)

    def packed(self) -> bytes:
        """As it stands in the head."""
        return self.number.to_bytes(8, "big") + self.made_at.to_bytes(8, "big") + self.previous


@dataclass(frozen=True, slots=True)
class Signature:
    """Under which key it was said, and the signature itself. Nothing is proven before `matches`."""

    spki: bytes
    message: bytes
    signature: bytes

    @property
    def signer(self) -> bytes:
        """The hash that names the key."""
        return key_hash(self.spki)

    def matches(self) -> bool:
        """Whether the key is one that may be used, and signed exactly this head. Whose key it is, it does not say."""
        try:
            check_public_key(self.spki, SIGNER_BITS, "The signer's key")
        except PublicKeyRefused:
            return False
        return signature_matches(self.spki, self.message, self.signature)


@dataclass(frozen=True, slots=True)
class Head:
    """A head as it was read. `said` and `signature` are both None in a backup that is not signed."""

    operator: bytes
    wrapped: bytes
    said: Said | None
    signature: Signature | None
    digest: bytes
    """BLAKE3 of the whole head: the pieces are bound to it, and the next backup names it."""


def signed_head(operator: bytes, wrapped: bytes, said: Said, key: SigningKey) -> bytes:
    """The bytes of a new backup's head. `operator` is the hash of the operator's key."""
    start = pack_prefix(ObjectType.PLATFORM_BACKUP, SIGNED) + operator + _sized(wrapped) + said.packed()
    start += _sized(key.spki)
    return start + _sized(key.sign(CONTEXT + start))


def read_head(file: BinaryIO) -> Head:
    """Read the head and leave the file at the first piece. FormatError."""
    head = _Reader(file)
    algorithm = check_prefix(head.take(PREFIX_SIZE), ObjectType.PLATFORM_BACKUP)
    operator, wrapped = head.take(DIGEST_SIZE), head.sized(MAX_WRAPPED, "wrapped key")
    said = signature = None
    if algorithm == SIGNED:
        said = Said(head.number(), head.number(), head.take(DIGEST_SIZE))
        if said.made_at > MAX_TIME:
            raise FormatError(WHAT, "its time is none")
        spki = head.sized(MAX_SPKI, "signer's key")
        message = CONTEXT + bytes(head.data)
        signature = Signature(spki, message, head.sized(MAX_SIGNATURE, "signature"))
    return Head(operator, wrapped, said, signature, blake3(head.data).digest())


def exactly(file: BinaryIO, size: int) -> bytes:
    """So many bytes of the file. FormatError when it ends before."""
    data = file.read(size)
    if len(data) != size:
        raise FormatError(WHAT, "ends too early")
    return data


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


class _Reader:
    """Reads fields one after the other, and keeps what it read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.data = bytearray()

    def take(self, size: int) -> bytes:
        taken = exactly(self._file, size)
        self.data += taken
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def sized(self, limit: int, field: str) -> bytes:
        size = int.from_bytes(self.take(2), "big")
        if size > limit:
            raise FormatError(WHAT, f"its {field} is too long")
        return self.take(size)
