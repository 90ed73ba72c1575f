"""Where large files are cut: frozen for ever, whatever the reads look like."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine.chunking import FINE, GENERAL, Chunker, Profile
from agents.keys.derive import Use, derive

MIB = 1024 * 1024
DATA = blake3(b"strongroom chunker vector").digest(length=24 * MIB)
KEY = bytes(range(32))


def cut(data: bytes, key: bytes = KEY, profile: Profile = GENERAL, reads: int = 1 << 30) -> list[bytes]:
    position = 0

    def fill(buffer: memoryview) -> int:
        nonlocal position
        piece = data[position : position + min(len(buffer), reads)]
        buffer[: len(piece)] = piece
        position += len(piece)
        return len(piece)

    return [bytes(chunk) for chunk in Chunker(key, profile).cut(fill)]


def digest(chunks: list[bytes]) -> str:
    return blake3(repr([len(chunk) for chunk in chunks]).encode()).hexdigest()


VECTORS = [
    (
        bytes(32),
        GENERAL,
        [706542, 1805059, 689067, 1204262],
        "fff5cb86565f51c70a548868ca8213b84c9a63e95b80174fc07135fce3d7b395",
    ),
    (bytes(32), FINE, [31886, 80781, 73899, 71116], "a8989f22547ccd59a1e1af258f9856345778cd8a2f18e7ace9acf78814f5be34"),
    (
        KEY,
        GENERAL,
        [730425, 992202, 856216, 2302636],
        "e85c2a54d427f59afde030bb238725f8dc54b30b8388ea8e0d98eb973bf4f286",
    ),
    (KEY, FINE, [66982, 65569, 67828, 116917], "188f7cf50d93bc53cf9f12e15b23e2f5262eb30db2395b0b6bcbd8a01813c230"),
    (
        b"\xff" * 32,
        GENERAL,
        [1369505, 2375721, 671600, 374198],
        "5f4d8525f958cec658a18cabea8ecd55bb32b25d8236f49c1dda1a94d3e7d5fb",
    ),
    (
        b"\xff" * 32,
        FINE,
        [51163, 79627, 73996, 174513],
        "e9fc342d17aa999e7aa13714909d2aeddfb2905a3bb523237fe0eaf7f95a6b8d",
    ),
]


@pytest.mark.parametrize(("key", "profile", "first", "expected"), VECTORS)
def test_boundaries_are_those_of_the_frozen_vectors(key, profile, first, expected):
    chunks = cut(DATA, key, profile)
    assert [len(chunk) for chunk in chunks[: len(first)]] == first
    assert digest(chunks) == expected
    assert b"".join(chunks) == DATA


@pytest.mark.parametrize("reads", [4096, 65_537, 3 * MIB + 1])
def test_boundaries_do_not_depend_on_how_much_a_read_returns(reads):
    assert cut(DATA, reads=reads) == cut(DATA)


def test_vaults_cut_the_same_content_differently():
    keys = [derive(bytes([number]) * 32, Use.CHUNKER_SEED) for number in range(4)]
    assert len({digest(cut(DATA, key)) for key in keys}) == 4


@pytest.mark.parametrize("profile", [GENERAL, FINE])
@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, 255 * 1024 + 1, 256 * 1024, MIB - 1, 4 * MIB, 4 * MIB + 1, 16 * MIB, 17 * MIB]
)
def test_sizes_are_within_the_profile_and_nothing_is_lost(profile, size):
    data = DATA[:size]
    chunks = cut(data, profile=profile)
    assert b"".join(chunks) == data
    assert all(profile.smallest < len(chunk) <= profile.largest for chunk in chunks[:-1])
    assert all(chunks)


def test_zeros_are_cut_into_equal_chunks():
    chunks = cut(bytes(9 * MIB))
    assert {len(chunk) for chunk in chunks[:-1]} == {4 * MIB}
    assert sum(map(len, chunks)) == 9 * MIB


@settings(max_examples=25, deadline=None)
@given(position=st.integers(0, 8 * MIB), inserted=st.binary(min_size=1, max_size=200))
def test_an_insertion_changes_only_chunks_near_it(position, inserted):
    data = DATA[: 8 * MIB]
    before, after = set(cut(data, profile=FINE)), set(cut(data[:position] + inserted + data[position:], profile=FINE))
    assert len(after - before) <= 12
