"""The layout of a sealed chunk (no keys here): ``version ‖ codec ‖ nonce 12 ‖ ciphertext ‖ tag 16``."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, check_size

CHUNK_VERSION = 1
"""Fixes hash (BLAKE3), key derivation (keyed BLAKE3) and AEAD (AES-256-GCM) together."""
CODEC_STORED = 0
CODEC_ZSTD = 1
CODECS = frozenset({CODEC_STORED, CODEC_ZSTD})
NONCE_SIZE = 12
TAG_SIZE = 16
SEALED_OVERHEAD = 2 + NONCE_SIZE + TAG_SIZE

MAX_CHUNK_PLAIN = 4 * 1024 * 1024
"""No chunk opens to more; the chunker's upper bound, and what a reader must be ready to hold."""
MAX_SEALED = MAX_CHUNK_PLAIN + 64 * 1024
"""Incompressible data grows by a little under zstd; such chunks are stored, so this leaves ample room."""


@dataclass(frozen=True, slots=True)
class SealedChunk:
    """A sealed chunk, cut into its fields."""

    version: int
    codec: int
    nonce: bytes
    ciphertext: memoryview
    tag: bytes


def chunk_aad(version: int, codec: int, vault_id: bytes, epoch: int, chunk_id: bytes) -> bytes:
    """Return what a chunk's AEAD binds besides the content: ``version ‖ codec ‖ vault ‖ epoch u32 ‖ chunk id``."""
    check_size(vault_id, ID_SIZE, "chunk", "vault id")
    check_size(chunk_id, DIGEST_SIZE, "chunk", "chunk id")
    return bytes((version, codec)) + vault_id + epoch.to_bytes(4, "big") + chunk_id


def join_sealed(codec: int, nonce: bytes, ciphertext: bytes, tag: bytes) -> bytes:
    """Return the sealed chunk of these fields."""
    check_size(nonce, NONCE_SIZE, "chunk", "nonce")
    check_size(tag, TAG_SIZE, "chunk", "tag")
    return b"".join((bytes((CHUNK_VERSION, codec)), nonce, ciphertext, tag))


def split_sealed(sealed: bytes | bytearray | memoryview) -> SealedChunk:
    """Cut a sealed chunk into its fields; FormatError when it is none that this version reads."""
    if not SEALED_OVERHEAD <= len(sealed) <= MAX_SEALED:
        raise FormatError("sealed chunk", f"its length of {len(sealed)} bytes is out of bounds")
    view = memoryview(sealed)
    version, codec = view[0], view[1]
    if version != CHUNK_VERSION:
        raise FormatError("sealed chunk", f"has version {version}; this program reads version {CHUNK_VERSION}")
    if codec not in CODECS:
        raise FormatError("sealed chunk", f"uses codec {codec}, which this program does not know")
    return SealedChunk(version, codec, bytes(view[2:14]), view[14:-TAG_SIZE], bytes(view[-TAG_SIZE:]))
