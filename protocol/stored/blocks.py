"""Reference blocks: for each manifest segment, the sorted chunk ids that it needs, its own id included.

``prefix ‖ count u32 ‖ count × 32 bytes, strictly ascending``. A block is named by its BLAKE3, stands in packs in clear
(the server must know what a snapshot needs) and is deduplicated like a chunk.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from blake3 import blake3

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

BLOCK_HEADER_SIZE = PREFIX_SIZE + 4
MAX_BLOCK_IDS = 65_536
"""A segment needs at most as many chunks; keeps a block at 2 MiB, under the limit of a record."""


def encode_block(ids: Iterable[bytes]) -> bytes:
    """Return the reference block of these chunk ids (sorted and made unique here)."""
    unique = sorted(set(ids))
    if len(unique) > MAX_BLOCK_IDS:
        raise FormatError("reference block", f"{len(unique)} ids are over the limit of {MAX_BLOCK_IDS}")
    if any(len(chunk_id) != DIGEST_SIZE for chunk_id in unique):
        raise FormatError("reference block", "an id is not 32 bytes long")
    return pack_prefix(ObjectType.REFERENCE_BLOCK) + len(unique).to_bytes(4, "big") + b"".join(unique)


def decode_block(data: bytes) -> list[bytes]:
    """Return the ids of a reference block; FormatError unless they are whole and strictly ascending."""
    count = _count(data)
    ids = [data[i : i + DIGEST_SIZE] for i in range(BLOCK_HEADER_SIZE, len(data), DIGEST_SIZE)]
    if len(ids) != count or any(a >= b for a, b in pairwise(ids)):
        raise FormatError("reference block", "its ids are not strictly ascending")
    return ids


def block_id(data: bytes) -> bytes:
    """Return the name of a reference block: the BLAKE3 of its bytes."""
    return blake3(data).digest()


def block_contains(data: bytes, chunk_id: bytes) -> bool:
    """Say whether a (decoded once before, thus sound) block lists ``chunk_id``; a binary search, nothing is copied."""
    low, high = 0, _count(data)
    while low < high:
        middle = (low + high) // 2
        start = BLOCK_HEADER_SIZE + middle * DIGEST_SIZE
        found = data[start : start + DIGEST_SIZE]
        if found == chunk_id:
            return True
        low, high = (middle + 1, high) if found < chunk_id else (low, middle)
    return False


def _count(data: bytes) -> int:
    check_prefix(data, ObjectType.REFERENCE_BLOCK)
    count = int.from_bytes(data[PREFIX_SIZE:BLOCK_HEADER_SIZE], "big")
    if count > MAX_BLOCK_IDS or len(data) != BLOCK_HEADER_SIZE + count * DIGEST_SIZE:
        raise FormatError("reference block", f"is {len(data)} bytes, which does not hold {count} ids")
    return count
