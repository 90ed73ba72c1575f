"""What is sent to a bucket, in parts, and whether what lies there is the same."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO

PART_BYTES = 8 * 1024 * 1024
"""Of one part: eight make a pack, and few enough are in memory at a time. The protocol's least is 5 MiB."""
MAX_PARTS = 10_000


@dataclass(frozen=True, slots=True)
class Content:
    """The size of an object and the SHA-256 of each of its parts, one after the other; one part is the whole."""

    size: int
    digests: tuple[bytes, ...]

    @property
    def checksums(self) -> tuple[str, ...]:
        """The checksums that a service may name for it: of the whole where it is one part, and of the parts' sums."""
        joined = b64encode(sha256(b"".join(self.digests)).digest()).decode()
        composite = f"{joined}-{len(self.digests)}"
        return (composite, encoded(self.digests[0])) if len(self.digests) == 1 else (composite,)


def encoded(digest: bytes) -> str:
    """A digest as the service writes it."""
    return b64encode(digest).decode()


def pieces(data: bytes | BinaryIO) -> Iterator[bytes]:
    """The content in parts of `PART_BYTES`, the last one shorter; an empty content is one empty part."""
    if isinstance(data, bytes):
        for start in range(0, max(len(data), 1), PART_BYTES):
            yield data[start : start + PART_BYTES]
        return
    piece = filled(data, PART_BYTES)
    while True:
        following = filled(data, PART_BYTES) if len(piece) == PART_BYTES else b""
        yield piece
        if not following:
            return
        piece = following


def filled(source: BinaryIO, size: int) -> bytes:
    """The next `size` bytes of a source that may give fewer at a time; fewer at its end."""
    found = source.read(size)
    if not found or len(found) == size:
        return found or b""
    whole = bytearray(found)
    while len(whole) < size and (more := source.read(size - len(whole))):
        whole += more
    return bytes(whole)
