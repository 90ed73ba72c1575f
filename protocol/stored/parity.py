"""Parity: what a damaged pack can be made whole from, kept beside it as `<its key>.parity`.

``head ‖ parity blocks ‖ head again ‖ head length u32 ‖ 0 u32 ‖ "STRMPRTY"``. The pack is cut into blocks, and these
are laid out in ``data`` columns of ``rows`` blocks each, column after column; the last blocks are filled up with zeros.
Each row has ``parity`` further blocks: block *j* is the sum over *c* of ``inverse((data + j) xor c) · column c``, byte
by byte in GF(2^8) with the polynomial 0x11d (a Cauchy matrix). So any ``parity`` blocks of a row may be lost. Digests
of all blocks tell which ones are; the head with these digests stands there twice: nothing can be healed without it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE, ID_SIZE, check_size
from protocol.stored.prefix import PREFIX_SIZE, ObjectType, check_prefix, pack_prefix

WHAT = "parity"
SHAPE = struct.Struct(">16s16sQ32sIBBHI")
TABLE_OFFSET = PREFIX_SIZE + SHAPE.size
BLOCK_DIGEST_SIZE = 16
"""A block's digest is the first half of its BLAKE3: it finds accidents; the pack's whole digest judges the result."""
TAIL = struct.Struct(">II8s")
TAIL_MAGIC = b"STRMPRTY"

MAX_PACK_SIZE = 1 << 30
"""A pack that deduplication left alone is some 64 MiB; this bounds what a reader must hold."""
SMALLEST_BLOCK, LARGEST_BLOCK = 512, 1 << 20
MAX_COLUMNS = 255
"""Data and parity columns together: the matrix has no more different elements."""
MAX_HEAD = 64 << 20
ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class ParityHead:
    """Which pack it belongs to, how it is laid out, and the digests of all blocks (16 bytes each, joined)."""

    vault_id: bytes
    pack_uid: bytes
    size: int
    digest: bytes
    block: int
    data: int
    parity: int
    data_digests: bytes = b""
    parity_digests: bytes = b""

    @property
    def blocks(self) -> int:
        """Blocks that the pack fills, the last one perhaps in part."""
        return -(-self.size // self.block)

    @property
    def rows(self) -> int:
        """Blocks in a column."""
        return -(-self.blocks // self.data)

    @property
    def head_size(self) -> int:
        """Bytes of the encoded head."""
        return TABLE_OFFSET + BLOCK_DIGEST_SIZE * (self.blocks + self.parity * self.rows) + DIGEST_SIZE

    @property
    def file_size(self) -> int:
        """Bytes of the whole object."""
        return 2 * self.head_size + self.parity * self.rows * self.block + TAIL.size

    def parity_offset(self, column: int, row: int) -> int:
        """Where a parity block begins in the object."""
        return self.head_size + (column * self.rows + row) * self.block

    def encode(self) -> bytes:
        """Return the head's bytes."""
        _check_shape(self)
        check_size(self.data_digests, BLOCK_DIGEST_SIZE * self.blocks, WHAT, "table of data digests")
        check_size(self.parity_digests, BLOCK_DIGEST_SIZE * self.parity * self.rows, WHAT, "table of parity digests")
        shape = SHAPE.pack(
            check_size(self.vault_id, ID_SIZE, WHAT, "vault id"),
            check_size(self.pack_uid, ID_SIZE, WHAT, "pack id"),
            self.size,
            check_size(self.digest, DIGEST_SIZE, WHAT, "pack digest"),
            self.block, self.data, self.parity, 0, self.rows,
        )  # fmt: skip
        head = pack_prefix(ObjectType.PARITY) + shape + self.data_digests + self.parity_digests
        return head + blake3(head).digest()


def block_digest(block: bytes | memoryview) -> bytes:
    """The digest of one block, which is filled up with zeros where the pack ends in it."""
    return blake3(block).digest(BLOCK_DIGEST_SIZE)


def encode_tail(head: bytes) -> bytes:
    """Return the last 16 bytes of a parity object."""
    return TAIL.pack(len(head), 0, TAIL_MAGIC)


def decode_parity_head(data: bytes) -> ParityHead:
    """Read a head; ``data`` may go on behind it. FormatError when it is damaged."""
    shape = _decode_shape(data)
    if len(data) < shape.head_size:
        raise FormatError(WHAT, "ends before its tables")
    end = shape.head_size - DIGEST_SIZE
    if blake3(data[:end]).digest() != data[end : shape.head_size]:
        raise FormatError(WHAT, "its head does not match its digest")
    middle = TABLE_OFFSET + BLOCK_DIGEST_SIZE * shape.blocks
    return _with_tables(shape, bytes(data[TABLE_OFFSET:middle]), bytes(data[middle:end]))


def read_parity_head(read_at: ReadAt, size: int) -> ParityHead:
    """Read the head of a parity object of ``size`` bytes: the first, or the second where the first is damaged.

    ``read_at(offset, length)`` returns that part of the object (shorter at its end). FormatError when both are damaged
    or the object is not as long as its head says.
    """
    try:
        head = _read_first(read_at)
    except FormatError as first:
        try:
            head = _read_second(read_at, size)
        except FormatError:
            raise first from None
    if head.file_size != size:
        raise FormatError(WHAT, f"is {size} bytes long, not {head.file_size}")
    return head


def _read_first(read_at: ReadAt) -> ParityHead:
    shape = _decode_shape(read_at(0, TABLE_OFFSET))
    return decode_parity_head(read_at(0, shape.head_size))


def _read_second(read_at: ReadAt, size: int) -> ParityHead:
    tail = read_at(max(size - TAIL.size, 0), TAIL.size)
    check_size(tail, TAIL.size, WHAT, "tail")
    length, reserved, magic = TAIL.unpack(tail)
    if magic != TAIL_MAGIC or reserved or length > min(MAX_HEAD, size - TAIL.size):
        raise FormatError(WHAT, "does not end as parity of Strongroom")
    return decode_parity_head(read_at(size - TAIL.size - length, length))


def _decode_shape(data: bytes) -> ParityHead:
    check_prefix(data, ObjectType.PARITY)
    if len(data) < TABLE_OFFSET:
        raise FormatError(WHAT, "ends before its tables")
    vault_id, pack_uid, size, digest, block, columns, parity, reserved, rows = SHAPE.unpack_from(data, PREFIX_SIZE)
    shape = ParityHead(vault_id, pack_uid, size, digest, block, columns, parity)
    _check_shape(shape)
    if reserved or rows != shape.rows:
        raise FormatError(WHAT, "its layout contradicts itself")
    return shape


def _check_shape(shape: ParityHead) -> None:
    if not 0 < shape.size <= MAX_PACK_SIZE:
        raise FormatError(WHAT, f"is of a pack of {shape.size} bytes, which is out of bounds")
    if not SMALLEST_BLOCK <= shape.block <= LARGEST_BLOCK or shape.block & (shape.block - 1):
        raise FormatError(WHAT, f"has blocks of {shape.block} bytes, which is no size for them")
    if shape.data < 1 or shape.parity < 1 or shape.data + shape.parity > MAX_COLUMNS:
        raise FormatError(WHAT, f"has {shape.data} and {shape.parity} columns, which cannot be")
    if shape.head_size > MAX_HEAD:
        raise FormatError(WHAT, "its tables are over the limit")


def _with_tables(shape: ParityHead, data_digests: bytes, parity_digests: bytes) -> ParityHead:
    return ParityHead(
        shape.vault_id, shape.pack_uid, shape.size, shape.digest, shape.block, shape.data, shape.parity,
        data_digests, parity_digests,
    )  # fmt: skip
