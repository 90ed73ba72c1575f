"""The frame header: twenty bytes, and nothing but this version's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.wire import FailureCode, limits
from protocol.wire.errors import Violation
from protocol.wire.frames import HEADER_LENGTH, FrameHeader, decode_header, encode_header

GOOD = encode_header(36, 7, 10, 20)


@settings(deadline=None)
@given(
    st.integers(0, 255),
    st.integers(0, limits.MAX_REQUEST_ID),
    st.integers(0, limits.MAX_BODY),
    st.integers(0, limits.MAX_PAYLOAD),
)
def test_header_survives_the_round_trip(code: int, request: int, body: int, payload: int) -> None:
    encoded = encode_header(code, request, body, payload)
    assert len(encoded) == HEADER_LENGTH
    assert decode_header(b"xyz" + encoded, 3) == FrameHeader(code, request, body, payload)


def test_header_has_the_documented_layout() -> None:
    expected = b"SR" + bytes.fromhex("01 24 0000 0000 00000007 0000000a 00000014")
    assert expected == GOOD


@pytest.mark.parametrize(
    ("offset", "value", "code"),
    [
        (0, b"s", FailureCode.PROTOCOL),
        (1, b"s", FailureCode.PROTOCOL),
        (2, b"\x02", FailureCode.VERSION),
        (2, b"\x00", FailureCode.VERSION),
        (4, b"\x80", FailureCode.PROTOCOL),
        (5, b"\x01", FailureCode.PROTOCOL),
        (6, b"\x01", FailureCode.PROTOCOL),
        (7, b"\x01", FailureCode.PROTOCOL),
    ],
)
def test_foreign_header_is_refused(offset: int, value: bytes, code: FailureCode) -> None:
    with pytest.raises(Violation) as caught:
        decode_header(GOOD[:offset] + value + GOOD[offset + 1 :])
    assert caught.value.code is code


@pytest.mark.parametrize(("body", "payload"), [(limits.MAX_BODY, limits.MAX_PAYLOAD), (0, 0)])
def test_lengths_up_to_the_limits_are_read(body: int, payload: int) -> None:
    assert decode_header(encode_header(1, 1, body, payload)).payload_length == payload


@pytest.mark.parametrize(
    ("body", "payload"), [(limits.MAX_BODY + 1, 0), (0, limits.MAX_PAYLOAD + 1), (0, 2**32 - 1), (2**32 - 1, 0)]
)
def test_lengths_beyond_any_limit_are_refused(body: int, payload: int) -> None:
    with pytest.raises(Violation) as caught:
        decode_header(encode_header(1, 1, body, payload))
    assert caught.value.code is FailureCode.TOO_LARGE
