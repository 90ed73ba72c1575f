"""The numbers of a vault's chunks as bitmaps, streamed from the index in spans: five million take a second or two."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence

from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import ChunkState, binary_cursor, check_vault_in_scope

SPAN = 262_144
"""Numbers looked at in one query: two megabytes, and four containers of a bitmap."""
BATCH = 10_000
"""Rows changed under the exclusive lock at a time: a tenth of a second or two, in which commits wait."""

NUMBERS_SQL = """
    SELECT string_agg(int8send(number), ''::bytea) FROM catalog_chunk
     WHERE vault = %(vault)s AND number >= %(start)s AND number < %(end)s AND state = ANY(%(states)b::smallint[])
"""


def numbers_between(vault_number: int, start: int, end: int, states: Sequence[ChunkState]) -> BitMap64:
    """The numbers from `start` up to (without) `end` of chunks in these states."""
    check_vault_in_scope(vault_number)
    question = {"vault": vault_number, "start": start, "end": end, "states": [int(state) for state in states]}
    with binary_cursor() as cursor:
        cursor.execute(NUMBERS_SQL, question, binary=True)
        row = cursor.fetchone()
    numbers = array("Q")
    if row and row[0]:
        numbers.frombytes(row[0])
    if sys.byteorder == "little":
        numbers.byteswap()
    return BitMap64(numbers)


def spans(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The range in parts of at most SPAN numbers."""
    for first in range(start, end, SPAN):
        yield first, min(first + SPAN, end)


def slices(numbers: BitMap64, size: int = BATCH) -> Iterator[BitMap64]:
    """The numbers in order, at most `size` at a time."""
    rest = numbers.to_array()
    for first in range(0, len(rest), size):
        yield BitMap64(rest[first : first + size])
