"""Reed-Solomon over packs: making parity, and making a damaged pack whole from it. Files in, files out; no database.

The arithmetic is liberasurecode's (PyECLib, ISA-L); the format (`protocol.stored.parity`) says which arithmetic that
is, so that another program can do the same. What comes out is never believed here: the caller compares the whole
pack's digest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, BinaryIO

from blake3 import blake3

from backup_platform.storage.base import ChecksumMismatch
from protocol.stored.errors import FormatError
from protocol.stored.parity import (
    BLOCK_DIGEST_SIZE,
    ParityHead,
    block_digest,
    encode_tail,
    read_parity_head,
)

BLOCK_SIZE = 4096
"""A sector of today's disks: what they lose, they lose in these."""
COLUMNS = 32
"""Data and parity columns together: as many as the library takes."""
BAND_ROWS = 64
"""Rows that are computed in one go: at most 8 MiB in memory, whatever the pack's size."""
LARGEST_PERCENT = 50


class ParityUnavailable(Exception):
    """This installation cannot compute parity: the library is not there for this system."""


class WrongSource(Exception):
    """What should get parity is not the pack that the catalogue knows: nothing was made."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """What came of the blocks: how many were damaged in every source, and how many of them parity gave back."""

    damaged: int
    healed: int

    @property
    def whole(self) -> bool:
        """Whether no block is left damaged (the pack's own digest has the last word)."""
        return self.damaged == self.healed


def columns_for(percent: int) -> tuple[int, int]:
    """Data and parity columns that give at least so many percent (1 to 50), in as long rows as the library takes."""
    if not 1 <= percent <= LARGEST_PERCENT:
        raise ValueError(f"Parity is 1 to {LARGEST_PERCENT} percent, not {percent}.")
    parity = -(-COLUMNS * percent // (100 + percent))
    return min(COLUMNS - parity, 100 * parity // percent), parity


def write_parity(pack: BinaryIO, about: ParityHead, out: BinaryIO, alive: Callable[[], object] = bool) -> ParityHead:
    """Write a pack's parity object to `out` (empty, seekable) and return its head.

    `about` says which pack it is and the layout, without tables. The pack is read twice, in order and by columns; both
    times it must be what `about.digest` says, else WrongSource. `alive` is called now and then.
    """
    head = replace(about, data_digests=_table_of(pack, about))
    sums = bytearray(BLOCK_DIGEST_SIZE * head.parity * head.rows)
    for first, rows, columns in _bands(pack, head):
        alive()
        for number, column in enumerate(_encode(head, b"".join(columns))):
            out.seek(head.parity_offset(number, first))
            out.write(column)
            for row in range(rows):
                at = BLOCK_DIGEST_SIZE * (number * head.rows + first + row)
                block = column[row * head.block : (row + 1) * head.block]
                sums[at : at + BLOCK_DIGEST_SIZE] = block_digest(block)
    head = replace(head, parity_digests=bytes(sums))
    encoded = head.encode()
    out.seek(0)
    out.write(encoded)
    out.seek(head.parity_offset(head.parity, 0))
    out.write(encoded + encode_tail(encoded))
    return head


def check_parity(parity: BinaryIO, head: ParityHead) -> int:
    """How many of the parity object's own blocks and heads are damaged."""
    places = [(column, row) for column in range(head.parity) for row in range(head.rows)]
    blocks = sum(_parity_block(parity, head, column, row) is None for column, row in places)
    encoded = head.encode()
    second = encoded + encode_tail(encoded)
    heads = (read_at(parity, 0, len(encoded)) != encoded) + (
        read_at(parity, head.parity_offset(head.parity, 0), len(second)) != second
    )
    return blocks + heads


def read_head(parity: BinaryIO) -> ParityHead:
    """The head of a parity file. FormatError when it is none, or damaged at both of its places."""
    return read_parity_head(lambda offset, length: read_at(parity, offset, length), parity.seek(0, 2))


def repair(sources: Sequence[BinaryIO], parity: BinaryIO, head: ParityHead, out: BinaryIO) -> Repaired:
    """Write the pack to `out` as far as it can be had: each block from the first source that has it, else by parity.

    Whoever calls compares the digest of all of `out` with the pack's before anything of it counts.
    """
    bad = defaultdict(list)
    for index in range(head.blocks):
        block = _first_good(sources, head, index)
        if block is None:
            bad[index % head.rows].append(index)
        else:
            _write_block(out, head, index, block)
    healed = sum(_repair_row(out, parity, head, row, lost) for row, lost in bad.items())
    out.truncate(head.size)
    return Repaired(sum(len(lost) for lost in bad.values()), healed)


def read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    """A part of a file; what the medium refuses to give is nothing, which no digest takes for the right bytes.

    A store that went away meanwhile is another matter: StoreUnavailable goes on to the caller.
    """
    try:
        file.seek(offset)
        return file.read(length)
    except (OSError, ChecksumMismatch):
        return b""


def _table_of(pack: BinaryIO, about: ParityHead) -> bytes:
    whole, table = blake3(), bytearray()
    pack.seek(0)
    for index in range(about.blocks):
        block = pack.read(about.block)
        whole.update(block)
        table += block_digest(_filled(block, about))
        if index == about.blocks - 1 and pack.read(1):
            raise WrongSource("The pack is longer than the catalogue says.")
    if whole.digest() != about.digest:
        raise WrongSource("The pack is not what the catalogue says.")
    return bytes(table)


def _bands(pack: BinaryIO, head: ParityHead) -> Iterator[tuple[int, int, list[bytes]]]:
    """Bands of rows: the first row, how many, and each data column's part of them."""
    for first in range(0, head.rows, BAND_ROWS):
        rows = min(BAND_ROWS, head.rows - first)
        yield first, rows, [_column(pack, head, column * head.rows + first, rows) for column in range(head.data)]


def _column(pack: BinaryIO, head: ParityHead, index: int, rows: int) -> bytes:
    part = read_at(pack, index * head.block, min(rows * head.block, max(0, head.size - index * head.block)))
    part += bytes(rows * head.block - len(part))
    for row in range(min(rows, max(0, head.blocks - index))):
        block = part[row * head.block : (row + 1) * head.block]
        if block_digest(block) != _digest_of(head, index + row):
            raise WrongSource("The pack changed while it was read.")
    return part


def _first_good(sources: Sequence[BinaryIO], head: ParityHead, index: int) -> bytes | None:
    for source in sources:
        block = _filled(read_at(source, index * head.block, min(head.block, head.size - index * head.block)), head)
        if block_digest(block) == _digest_of(head, index):
            return block
    return None


def _repair_row(out: BinaryIO, parity: BinaryIO, head: ParityHead, row: int, lost: list[int]) -> int:
    if len(lost) > head.parity:
        return 0
    pieces = _good_pieces(out, parity, head, row, lost)
    if len(pieces) < head.data:
        return 0
    whole = _decode(head, pieces)
    healed = 0
    for index in lost:
        column = index // head.rows
        block = whole[column * head.block : (column + 1) * head.block]
        if block_digest(block) == _digest_of(head, index):
            _write_block(out, head, index, block)
            healed += 1
    return healed


def _good_pieces(out: BinaryIO, parity: BinaryIO, head: ParityHead, row: int, lost: list[int]) -> dict[int, bytes]:
    """The row's blocks that are there, by their column; parity's columns follow those of the data."""
    pieces: dict[int, bytes] = {}
    for column in range(head.data):
        index = column * head.rows + row
        if index >= head.blocks:
            pieces[column] = bytes(head.block)
        elif index not in lost:
            pieces[column] = _filled(read_at(out, index * head.block, head.block), head)
    for column in range(head.parity):
        if len(pieces) >= head.data:
            break
        block = _parity_block(parity, head, column, row)
        if block is not None:
            pieces[head.data + column] = block
    return pieces


def _parity_block(parity: BinaryIO, head: ParityHead, column: int, row: int) -> bytes | None:
    at = BLOCK_DIGEST_SIZE * (column * head.rows + row)
    block = read_at(parity, head.parity_offset(column, row), head.block)
    return block if block_digest(block) == head.parity_digests[at : at + BLOCK_DIGEST_SIZE] else None


def _digest_of(head: ParityHead, index: int) -> bytes:
    return head.data_digests[BLOCK_DIGEST_SIZE * index : BLOCK_DIGEST_SIZE * (index + 1)]


def _filled(block: bytes, head: ParityHead) -> bytes:
    return block if len(block) == head.block else block + bytes(head.block - len(block))


def _write_block(out: BinaryIO, head: ParityHead, index: int, block: bytes) -> None:
    out.seek(index * head.block)
    out.write(block[: head.size - index * head.block])


def _encode(head: ParityHead, columns: bytes) -> list[bytes]:
    """The parity columns of these data columns (joined, of equal length)."""
    fragments = _driver(head.data, head.parity).encode(columns)
    start = len(fragments[0]) - len(columns) // head.data  # the library puts a header of its own before each
    return [fragment[start:] for fragment in fragments[head.data :]]


def _decode(head: ParityHead, pieces: dict[int, bytes]) -> bytes:
    """The row's data blocks, joined, from any `head.data` of its blocks."""
    headers = _headers(head.data, head.parity, head.block)
    whole: bytes = _driver(head.data, head.parity).decode([headers[column] + piece for column, piece in pieces.items()])
    return whole


@lru_cache(maxsize=16)
def _headers(data: int, parity: int, block: int) -> list[bytes]:
    """The headers that the library wants before each piece: they depend on its place and size, not on what it holds."""
    fragments = _driver(data, parity).encode(bytes(data * block))
    return [fragment[: len(fragment) - block] for fragment in fragments]


@lru_cache(maxsize=64)
def _driver(data: int, parity: int) -> Any:
    if data + parity > COLUMNS:
        raise FormatError("parity", f"has {data + parity} columns; this program computes with {COLUMNS} at most")
    try:
        from pyeclib.ec_iface import ECDriver
    except ImportError:
        raise ParityUnavailable(
            "Parity cannot be computed here: the package pyeclib is not installed (it is made for Linux)."
        ) from None
    return ECDriver(k=data, m=parity, ec_type="isa_l_rs_cauchy")
