"""The one table of derived keys. A raw secret is used for nothing but deriving.

Each use has its own BLAKE3 derive-key context ``strongroom/v1/<use>``, so that what one use reveals says nothing about
another. A new use gets a new line here; a line never changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum

from blake3 import blake3

SECRET_SIZE = 32
"""Bytes of a dedup secret, of a root's key, and of every key derived here."""


class Use(StrEnum):
    """What a derived key is for. All but the last are derived from a dedup secret."""

    CHUNK_ID = "chunk-id"
    """Keyed BLAKE3 of ``h`` is the chunk's id."""
    CHUNK_KEY = "chunk-key"
    """Keyed BLAKE3 of ``h`` is the chunk's AES-256 key."""
    CHUNKER_SEED = "chunker-seed"
    """Seeds the content-defined chunker."""
    BUNDLE_ENDS = "bundle-ends"
    """Keys the digest that decides where a bundle ends."""
    SEGMENT_ENDS = "segment-ends"
    """Keys the digest that decides where a manifest segment ends."""
    MACHINE_RECORD = "machine-record"
    """Keys the MAC of a machine record."""
    DEDUP_COMMITMENT = "dedup-commitment"
    """Stands in the signed vault record, so that nobody can pass another dedup secret off as the vault's."""
    ROOT_COMMITMENT = "root-commitment"
    """Derived from a root's own key: commits the root's header to that key."""


def derive(secret: bytes, use: Use) -> bytes:
    """Return the 32-byte key of ``secret`` (exactly 32 bytes) for one use; ValueError for another length."""
    if len(secret) != SECRET_SIZE:
        raise ValueError(f"a secret to derive from has {SECRET_SIZE} bytes, this one has {len(secret)}")
    return blake3(secret, derive_key_context=f"strongroom/v1/{use.value}").digest()
