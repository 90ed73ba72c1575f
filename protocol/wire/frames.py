"""The frame header: lengths, type and request id. It knows nothing of what messages mean.

A frame is a header of 20 bytes, a body and a payload; both may be empty. All integers are big-endian.

    offset size field
    0      2    magic, b"SR"
    2      1    frame version, 1
    3      1    type
    4      2    flags, 0
    6      2    reserved, 0
    8      4    request id
    12     4    body length
    16     4    payload length
"""

import struct
from typing import Final, NamedTuple

from protocol.wire import limits
from protocol.wire.errors import FailureCode, Violation

MAGIC: Final = b"SR"
FRAME_VERSION: Final = 1
HEADER_LENGTH: Final = 20
_HEADER: Final = struct.Struct(">2sBBHHIII")


class FrameHeader(NamedTuple):
    """What stands before a body: `type` code, `request` id, lengths of body and payload in bytes."""

    type: int
    request: int
    body_length: int
    payload_length: int


def encode_header(type_code: int, request: int, body_length: int, payload_length: int) -> bytes:
    """The 20 bytes of a header. The caller has checked the bounds."""
    return _HEADER.pack(MAGIC, FRAME_VERSION, type_code, 0, 0, request, body_length, payload_length)


def decode_header(buffer: bytes | bytearray | memoryview, offset: int = 0) -> FrameHeader:
    """The header at `offset`. Raises Violation if it is not one of this version, or its lengths exceed any frame's."""
    magic, version, type_code, flags, reserved, request, body, payload = _HEADER.unpack_from(buffer, offset)
    if magic != MAGIC:
        raise Violation("This is not a Strongroom frame: the magic bytes are missing.")
    if version != FRAME_VERSION:
        raise Violation(f"Frame version {version} is not known; this side speaks {FRAME_VERSION}.", FailureCode.VERSION)
    if flags or reserved:
        raise Violation("Flags and reserved bytes of a frame must be zero in frame version 1.")
    if body > limits.MAX_BODY or payload > limits.MAX_PAYLOAD:
        raise Violation(f"A frame announces {body} and {payload} bytes, more than any may have.", FailureCode.TOO_LARGE)
    return FrameHeader(type_code, request, body, payload)
