"""Reed-Solomon over packs: what it heals, what not, and that the arithmetic is the one that the format names."""

from __future__ import annotations

import io
import os
import random

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_platform.upkeep.parity_code import (
    COLUMNS,
    WrongSource,
    check_parity,
    columns_for,
    read_head,
    repair,
    write_parity,
)
from protocol.stored.errors import FormatError
from protocol.stored.parity import ParityHead

BLOCK = 512


def parity_of(data: bytes, percent: int = 10, block: int = BLOCK) -> tuple[io.BytesIO, ParityHead]:
    columns, further = columns_for(percent)
    about = ParityHead(b"v" * 16, b"p" * 16, len(data), blake3(data).digest(), block, columns, further)
    out = io.BytesIO()
    return out, write_parity(io.BytesIO(data), about, out)


def healed(spoilt: bytes, parity: io.BytesIO) -> tuple[bytes, bool]:
    out = io.BytesIO()
    result = repair([io.BytesIO(spoilt)], parity, read_head(parity), out)
    return out.getvalue(), result.whole


def test_every_percent_gives_at_least_what_it_says():
    for percent in range(1, 51):
        data, parity = columns_for(percent)
        assert parity / data >= percent / 100
        assert data + parity <= COLUMNS
    with pytest.raises(ValueError, match="1 to 50"):
        columns_for(51)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60_000), st.sampled_from([1, 5, 10, 20, 50]), st.randoms(use_true_random=False))
def test_as_many_damaged_blocks_of_a_row_as_it_has_parity_are_healed(size, percent, chance):
    data = chance.randbytes(size)
    parity, head = parity_of(data, percent)
    assert len(parity.getvalue()) == head.file_size
    spoilt = bytearray(data)
    for row in range(head.rows):
        blocks = list(range(row, head.blocks, head.rows))
        for index in chance.sample(blocks, min(head.parity, len(blocks))):
            at = chance.randrange(index * BLOCK, min((index + 1) * BLOCK, size))
            spoilt[at] ^= 1 << chance.randrange(8)
    assert healed(bytes(spoilt), parity) == (data, True)


@settings(max_examples=20, deadline=None)
@given(st.integers(3_000, 60_000), st.sampled_from([5, 10, 25]), st.randoms(use_true_random=False))
def test_a_run_of_bytes_as_long_as_the_percent_is_healed_wherever_it_lies(size, percent, chance):
    data = chance.randbytes(size)
    parity, head = parity_of(data, percent)
    length = (head.parity * head.rows - 1) * BLOCK
    start = chance.randrange(max(size - length, 1))
    spoilt = data[:start] + bytes(len(data[start : start + length])) + data[start + length :]
    assert healed(spoilt, parity) == (data, True)


def test_a_pack_that_was_cut_short_is_made_whole():
    data = os.urandom(40_000)
    parity, head = parity_of(data)
    assert healed(data[: len(data) - head.rows * BLOCK], parity) == (data, True)


def test_more_damage_than_parity_is_said_to_be_so():
    data = os.urandom(40_000)
    parity, head = parity_of(data)
    spoilt = bytearray(data)
    for column in range(head.parity + 1):
        spoilt[column * head.rows * BLOCK] ^= 1
    result, whole = healed(bytes(spoilt), parity)
    assert not whole
    assert result != data


def test_damaged_parity_is_counted_and_not_used():
    data = os.urandom(40_000)
    parity, head = parity_of(data, 20)
    spoilt_parity = bytearray(parity.getvalue())
    spoilt_parity[head.parity_offset(0, 0) + 7] ^= 0x40
    spoilt_parity[head.parity_offset(2, 0)] ^= 1
    spoilt = bytearray(data)
    spoilt[3] ^= 1
    file = io.BytesIO(bytes(spoilt_parity))
    assert check_parity(file, head) == 2
    assert healed(bytes(spoilt), file) == (data, True)


def test_a_bit_anywhere_in_parity_is_found():
    parity, head = parity_of(os.urandom(9_000), 10)
    right = parity.getvalue()
    for at in {0, 5, 40, 100, *range(head.file_size - 20, head.file_size), *random.sample(range(head.file_size), 300)}:
        spoilt = bytearray(right)
        spoilt[at] ^= 1 << random.randrange(8)
        file = io.BytesIO(bytes(spoilt))
        assert check_parity(file, read_head(file)) == 1, at


def test_two_damaged_files_and_parity_make_one_whole():
    data = os.urandom(30_000)
    parity, head = parity_of(data, 5)
    one, two = bytearray(data), bytearray(data)
    for column in range(head.parity + 3):
        one[column * head.rows * BLOCK] ^= 1
        two[column * head.rows * BLOCK + BLOCK] ^= 1
    out = io.BytesIO()
    assert repair([io.BytesIO(one), io.BytesIO(two)], parity, head, out).whole
    assert out.getvalue() == data


def test_parity_is_never_made_of_damaged_bytes():
    data = os.urandom(20_000)
    about = ParityHead(b"v" * 16, b"p" * 16, len(data), blake3(data).digest(), BLOCK, 29, 3)
    for spoilt in (data[:-1], data + b"x", data[:100] + bytes([data[100] ^ 1]) + data[101:]):
        with pytest.raises(WrongSource):
            write_parity(io.BytesIO(spoilt), about, io.BytesIO())


def test_the_arithmetic_is_the_one_that_the_format_names():
    data = os.urandom(11_111)
    parity, head = parity_of(data, 10)
    padded = data + bytes(head.data * head.rows * BLOCK - len(data))
    inverse = {a: b for a in range(1, 256) for b in range(1, 256) if times(a, b) == 1}
    for _ in range(30):
        column, row, at = (random.randrange(n) for n in (head.parity, head.rows, BLOCK))
        total = 0
        for c in range(head.data):
            total ^= times(inverse[(head.data + column) ^ c], padded[(c * head.rows + row) * BLOCK + at])
        assert parity.getvalue()[head.parity_offset(column, row) + at] == total


def times(a: int, b: int) -> int:
    """The product in GF(2^8) with the polynomial 0x11d."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return product


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_mutated_parity_gives_the_right_pack_or_none(data):
    pack = bytes(range(256)) * 40
    parity, _ = parity_of(pack, 10)
    spoilt = bytearray(parity.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, max(len(spoilt) - 1, 0)))
        if data.draw(st.booleans()):
            spoilt[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
        else:
            del spoilt[at : at + data.draw(st.integers(1, 50))]
    harmed = bytearray(pack)
    harmed[data.draw(st.integers(0, len(pack) - 1))] ^= 1
    file = io.BytesIO(bytes(spoilt))
    try:
        out = io.BytesIO()
        result = repair([io.BytesIO(bytes(harmed))], file, read_head(file), out)
    except FormatError:
        return
    assert not result.whole or out.getvalue() == pack
