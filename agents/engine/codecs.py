"""Compressing chunks and, bounded, undoing it.

Opening is the dangerous side: a frame of 13 bytes can claim terabytes, and zstandard's own ``max_output_size`` does
not bound a frame that states its size. So what the frame claims is checked first, its blocks are walked to see that it
is exactly one frame (RFC 8878, section 3.1.1), and then a stream is read with a limit.
"""

from __future__ import annotations

import threading

import zstandard

from protocol.stored.chunks import MAX_CHUNK_PLAIN

Buffer = bytes | bytearray | memoryview

LEVEL = 2
"""Two thirds of the time of level 3, for a store that is 2 % larger: measured in docs/decisions/0087."""
MAX_WINDOW = 8 * 1024 * 1024
"""A writer's window never exceeds its chunk; a frame that asks for more memory than this is not ours."""
_MAGIC = bytes.fromhex("28b52ffd")
_BLOCK_RLE = 1


class CodecFault(Exception):
    """A compressed body is damaged, or would become more than a chunk may hold. Its text completes "the chunk …"."""


class Compressor:
    """zstd with one context per thread, since a context serves one thread at a time and is dear to make."""

    def __init__(self, level: int = LEVEL) -> None:
        self._level = level
        self._local = threading.local()

    def compress(self, plaintext: Buffer) -> bytes:
        """Return one zstd frame that states its content size and has no checksum (the AEAD and ``h`` do that)."""
        context: zstandard.ZstdCompressor | None = getattr(self._local, "context", None)
        if context is None:
            context = zstandard.ZstdCompressor(level=self._level, write_content_size=True, write_checksum=False)
            self._local.context = context
        return context.compress(plaintext)


def decompress(frame: bytes, limit: int = MAX_CHUNK_PLAIN) -> bytes:
    """Return the content of exactly one zstd frame of at most ``limit`` bytes; CodecFault otherwise."""
    try:
        claimed = _claimed_size(frame, limit)
        if _frame_end(frame) != len(frame):
            raise CodecFault("is followed by bytes that do not belong to it")
        with zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(frame) as reader:
            content = reader.read(claimed + 1)
    except zstandard.ZstdError:
        raise CodecFault("is not an intact zstd frame") from None
    if len(content) != claimed:
        raise CodecFault("does not become what its frame says")
    return content


def _claimed_size(frame: bytes, limit: int) -> int:
    """Return the content size that the frame states, when it states one within ``limit``."""
    if frame[:4] != _MAGIC:
        raise CodecFault("is not a zstd frame")
    parameters = zstandard.get_frame_parameters(frame)
    if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise CodecFault("does not say how large it becomes")
    if parameters.content_size > limit or parameters.window_size > MAX_WINDOW:
        raise CodecFault(f"claims to become more than {limit} bytes")
    if parameters.dict_id:
        raise CodecFault("needs a dictionary, which no chunk does")
    return int(parameters.content_size)


def _frame_end(frame: bytes) -> int:
    """Return where the frame ends by walking its block headers: last u1 ‖ type u2 ‖ size u21, little-endian."""
    position = zstandard.frame_header_size(frame)
    last = False
    while not last:
        header = int.from_bytes(frame[position : position + 3], "little")
        if position + 3 > len(frame):
            raise CodecFault("is truncated")
        last = bool(header & 1)
        position += 3 + (1 if header >> 1 & 3 == _BLOCK_RLE else header >> 3)
    return position + (4 if frame[4] & 4 else 0)  # the flag of a content checksum, which other writers may set
