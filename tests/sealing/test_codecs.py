"""Bounded opening: whatever a frame claims or becomes, a chunk's limit holds."""

from __future__ import annotations

import threading
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.engine.codecs import CodecFault, Compressor, decompress
from protocol.stored.chunks import MAX_CHUNK_PLAIN

MAGIC = bytes.fromhex("28b52ffd")


def compress(data: bytes, **options: object) -> bytes:
    return zstandard.ZstdCompressor(level=3, **options).compress(data)


def rle_frame(claimed: int, blocks: int, size: int = 128 * 1024) -> bytes:
    """Return a frame that claims ``claimed`` bytes and becomes ``blocks`` × ``size`` zeros, four bytes a block."""
    header = MAGIC + bytes([0xE0]) + claimed.to_bytes(8, "little")
    body = [(size << 3 | 1 << 1 | (index == blocks - 1)).to_bytes(3, "little") + b"\0" for index in range(blocks)]
    return header + b"".join(body)


@given(st.binary(max_size=5000))
def test_what_is_compressed_becomes_itself_again(data: bytes) -> None:
    assert decompress(Compressor().compress(data)) == data


@pytest.mark.parametrize("size", [0, 1, 128 * 1024, 128 * 1024 + 1, MAX_CHUNK_PLAIN])
def test_every_size_up_to_a_chunk_opens(size: int) -> None:
    for data in (bytes(size), (b"0123456789abcdef" * (size // 16 + 1))[:size]):
        assert decompress(Compressor().compress(data)) == data


def test_our_own_rle_frame_opens_when_it_is_honest() -> None:
    """Keeps the bombs below honest: they differ from this frame in their numbers only."""
    assert decompress(rle_frame(2 * 128 * 1024, 2)) == bytes(2 * 128 * 1024)


def test_a_frame_of_thirteen_bytes_that_claims_terabytes_is_refused() -> None:
    bomb = MAGIC + bytes([0xE0]) + (1 << 40).to_bytes(8, "little")
    assert len(bomb) == 13
    with pytest.raises(CodecFault, match="claims to become more"):
        decompress(bomb)


def test_one_byte_more_than_a_chunk_is_refused() -> None:
    with pytest.raises(CodecFault, match="claims to become more"):
        decompress(compress(bytes(MAX_CHUNK_PLAIN + 1)))
    with pytest.raises(CodecFault, match="claims to become more"):
        decompress(compress(bytes(101)), limit=100)


@pytest.mark.parametrize("claimed", [0, 1, 1000, MAX_CHUNK_PLAIN])
def test_a_frame_that_becomes_more_than_it_claims_is_refused_without_the_memory(claimed: int) -> None:
    bomb = rle_frame(claimed, 40_000)  # 160 KB that would become 5 GB
    tracemalloc.start()
    try:
        with pytest.raises(CodecFault):
            decompress(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_CHUNK_PLAIN
    finally:
        tracemalloc.stop()


def test_a_frame_that_becomes_less_than_it_claims_is_refused() -> None:
    with pytest.raises(CodecFault):
        decompress(rle_frame(3 * 128 * 1024, 2))


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    stream = zstandard.ZstdCompressor().compressobj()
    with pytest.raises(CodecFault, match="does not say"):
        decompress(stream.compress(b"abc" * 100) + stream.flush())


def test_a_window_larger_than_any_chunk_is_refused_before_it_is_allocated() -> None:
    # No single segment: window descriptor 0xA0 asks for 1 GiB (RFC 8878, 3.1.1.1.2), the content size is 1.
    frame = MAGIC + bytes([0xC0, 0xA0]) + (1).to_bytes(8, "little") + bytes([0x09, 0, 0]) + b"a"
    with pytest.raises(CodecFault, match="claims"):
        decompress(frame)


def test_bytes_or_frames_behind_the_frame_are_refused() -> None:
    frame = compress(b"abc" * 1000)
    skippable = bytes.fromhex("502a4d18") + (4).to_bytes(4, "little") + b"junk"
    for extra in (b"\0", b"junk", frame, compress(b""), skippable):
        with pytest.raises(CodecFault, match="do not belong"):
            decompress(frame + extra)
    with pytest.raises(CodecFault, match="not a zstd frame"):
        decompress(skippable + frame)


def test_every_truncation_is_refused() -> None:
    frame = compress(bytes(range(256)) * 40)
    for cut in range(len(frame)):
        with pytest.raises(CodecFault):
            decompress(frame[:cut])


def test_a_frame_with_a_checksum_opens_and_a_wrong_checksum_is_refused() -> None:
    frame = bytearray(compress(b"abc" * 1000, write_checksum=True))
    assert decompress(bytes(frame)) == b"abc" * 1000
    frame[-1] ^= 1
    with pytest.raises(CodecFault):
        decompress(bytes(frame))


def test_a_frame_that_needs_a_dictionary_is_refused() -> None:
    dictionary = zstandard.ZstdCompressionDict(b"strongroom" * 200, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    trained = zstandard.train_dictionary(2048, [f"line {n} of a log {n * n}".encode() * 3 for n in range(400)])
    frame = zstandard.ZstdCompressor(dict_data=trained).compress(b"line 5 of a log 25")
    with pytest.raises(CodecFault, match="dictionary"):
        decompress(frame)
    assert dictionary.dict_id() == 0


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.integers(0, 400))
def test_damage_is_a_fault_or_bounded_content_and_nothing_else(position: int, flip: int, cut: int) -> None:
    frame = bytearray(compress(bytes(range(256)) * 30 + b"abc" * 900))
    frame[position % len(frame)] ^= flip
    try:
        content = decompress(bytes(frame[: len(frame) - cut]))
    except CodecFault:
        return
    assert len(content) <= MAX_CHUNK_PLAIN


@given(st.binary(max_size=200))
def test_noise_behind_the_magic_is_a_fault_or_bounded_content(noise: bytes) -> None:
    try:
        content = decompress(MAGIC + noise)
    except CodecFault:
        return
    assert len(content) <= MAX_CHUNK_PLAIN


def test_one_compressor_serves_many_threads_at_once() -> None:
    compressor, wrong = Compressor(), []

    def work(number: int) -> None:
        data = bytes([number]) * 50_000 + bytes(range(256)) * 200
        wrong.extend(round_ for round_ in range(30) if decompress(compressor.compress(data)) != data)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
