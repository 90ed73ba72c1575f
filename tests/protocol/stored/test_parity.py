"""Parity's format: what is written is read, by either of its heads; damaged bytes end in FormatError only."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.stored.errors import FormatError
from protocol.stored.parity import (
    BLOCK_DIGEST_SIZE,
    ParityHead,
    decode_parity_head,
    encode_tail,
    read_parity_head,
)


@st.composite
def heads(draw: st.DrawFn) -> ParityHead:
    data = draw(st.integers(1, 200))
    about = ParityHead(
        draw(st.binary(min_size=16, max_size=16)),
        draw(st.binary(min_size=16, max_size=16)),
        draw(st.integers(1, 200_000)),
        draw(st.binary(min_size=32, max_size=32)),
        draw(st.sampled_from([512, 1024, 4096])),
        data,
        draw(st.integers(1, 255 - data)),
    )
    seed = draw(st.binary(min_size=1, max_size=8))
    sums = seed * (BLOCK_DIGEST_SIZE * (about.blocks + about.parity * about.rows) // len(seed) + 1)
    middle = BLOCK_DIGEST_SIZE * about.blocks
    return ParityHead(
        about.vault_id, about.pack_uid, about.size, about.digest, about.block, about.data, about.parity,
        sums[:middle], sums[middle : middle + BLOCK_DIGEST_SIZE * about.parity * about.rows],
    )  # fmt: skip


def whole(head: ParityHead) -> bytes:
    encoded = head.encode()
    return encoded + bytes(head.parity * head.rows * head.block) + encoded + encode_tail(encoded)


def reader(data: bytes):
    return lambda offset, length: data[offset : offset + length]


@given(heads())
def test_what_is_written_is_read(head):
    assert decode_parity_head(head.encode()) == head
    data = whole(head)
    assert len(data) == head.file_size
    assert read_parity_head(reader(data), len(data)) == head


@given(heads(), st.data())
def test_either_head_is_enough(head, data):
    spoilt = bytearray(whole(head))
    at = data.draw(st.integers(0, head.head_size - 1))
    if data.draw(st.booleans()):
        at = len(spoilt) - 16 - head.head_size + at
    spoilt[at] ^= data.draw(st.integers(1, 255))
    assert read_parity_head(reader(bytes(spoilt)), len(spoilt)) == head


@given(heads())
def test_with_both_heads_damaged_it_is_refused(head):
    spoilt = bytearray(whole(head))
    spoilt[60] ^= 1
    spoilt[-16 - head.head_size + 60] ^= 1
    with pytest.raises(FormatError):
        read_parity_head(reader(bytes(spoilt)), len(spoilt))


@settings(max_examples=300)
@given(heads(), st.data())
def test_mutated_parity_ends_in_an_answer_or_a_format_error(head, data):
    spoilt = bytearray(whole(head))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(len(spoilt) - 1, 0)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip" if spoilt:
                spoilt[at] = data.draw(st.integers(0, 255))
            case "cut":
                del spoilt[at:]
            case "insert":
                spoilt[at:at] = data.draw(st.binary(max_size=20))
            case _:
                del spoilt[at : at + data.draw(st.integers(1, 20))]
    with contextlib.suppress(FormatError):
        read_parity_head(reader(bytes(spoilt)), len(spoilt))


@given(st.binary(max_size=300))
def test_other_bytes_are_no_parity(data):
    with pytest.raises(FormatError):
        read_parity_head(reader(data), len(data))
