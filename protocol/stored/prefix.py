"""The eight bytes that every stored object begins with.

``magic "STRM" ‖ type u8 ‖ format version u8 ‖ algorithm u8 ‖ 0``. A reader refuses what it does not know.
"""

from __future__ import annotations

from enum import IntEnum

from protocol.stored.errors import FormatError

MAGIC = b"STRM"
FORMAT_VERSION = 1
PREFIX_SIZE = 8


class ObjectType(IntEnum):
    """What a stored object is."""

    PACK = 1
    REFERENCE_BLOCK = 2
    ROOT = 3
    RECIPIENT_RECORD = 4
    STATEMENT = 5
    VAULT_RECORD = 6
    MACHINE_RECORD = 7
    WRAPPED_SECRET = 8
    LIFECYCLE_RECORD = 9
    ENROLLMENT_BLOB = 10
    MANIFEST_SEGMENT = 11
    REFERENCE_LIST = 12
    PLATFORM_BACKUP = 13
    PARITY = 14

    @property
    def title(self) -> str:
        """The object's name in an error message."""
        return self.name.lower().replace("_", " ")


ALGORITHMS: dict[ObjectType, frozenset[int]] = {
    ObjectType.PACK: frozenset({1}),  # BLAKE3 digests
    ObjectType.REFERENCE_BLOCK: frozenset({1}),
    ObjectType.ROOT: frozenset({1}),  # AES-256-GCM with BLAKE3 key commitment
    ObjectType.RECIPIENT_RECORD: frozenset({1}),  # RSA-OAEP, SHA-256, MGF1-SHA-256; 2 is kept for a hybrid with ML-KEM
    ObjectType.STATEMENT: frozenset({1}),  # RSA-PSS, SHA-256, salt 32
    ObjectType.VAULT_RECORD: frozenset({1}),
    ObjectType.MACHINE_RECORD: frozenset({1}),  # keyed BLAKE3
    ObjectType.WRAPPED_SECRET: frozenset({1}),
    ObjectType.LIFECYCLE_RECORD: frozenset({1}),
    ObjectType.ENROLLMENT_BLOB: frozenset({1}),  # AES-256-GCM
    ObjectType.MANIFEST_SEGMENT: frozenset({1}),
    ObjectType.REFERENCE_LIST: frozenset({1}),  # BLAKE3 digests
    ObjectType.PLATFORM_BACKUP: frozenset({1, 2}),  # RSA-OAEP as above, AES-256-GCM in pieces; 2 has a signed head
    ObjectType.PARITY: frozenset({1}),  # Reed-Solomon over GF(2^8), BLAKE3 digests
}
"""The algorithm numbers that this version reads, by type."""


def pack_prefix(kind: ObjectType, algorithm: int = 1) -> bytes:
    """Return the prefix of an object of ``kind``."""
    return MAGIC + bytes((kind, FORMAT_VERSION, algorithm, 0))


def check_prefix(data: bytes | bytearray | memoryview, kind: ObjectType) -> int:
    """Return the algorithm number when ``data`` begins as an object of ``kind``; FormatError otherwise."""
    head = bytes(data[:PREFIX_SIZE])
    what = kind.title
    if len(head) < PREFIX_SIZE:
        raise FormatError(what, "ends before its prefix")
    if head[:4] != MAGIC:
        raise FormatError(what, "does not begin as an object of Strongroom")
    if head[4] != kind:
        raise FormatError(what, f"is an object of type {head[4]}")
    if head[5] != FORMAT_VERSION:
        raise FormatError(what, f"has format version {head[5]}; this program reads version {FORMAT_VERSION}")
    if head[6] not in ALGORITHMS[kind] or head[7] != 0:
        raise FormatError(what, f"uses algorithm {head[6]}, which this program does not know")
    return head[6]
