"""From received bytes to frames: header, then body, then payload, each judged before the next is allocated."""

from typing import NamedTuple

from protocol.wire import messages
from protocol.wire.codec import KINDS, MessageKind, check_lengths, decode_body
from protocol.wire.conversation import Conversation
from protocol.wire.frames import HEADER_LENGTH, FrameHeader, decode_header
from protocol.wire.receive_buffer import ReceiveBuffer
from protocol.wire.types import Role


class Frame(NamedTuple):
    """A complete frame. `kind` and `message` are None for a type that is not known: it was skipped."""

    header: FrameHeader
    kind: MessageKind | None
    message: messages.Message | None
    payload: bytes | bytearray


class FrameReader:
    """Reads the frames of `sender` out of a buffer. Keeps a frame that is begun until the rest has come."""

    def __init__(self, buffer: ReceiveBuffer, talk: Conversation, sender: Role) -> None:
        self._buffer = buffer
        self._talk = talk
        self._sender = sender
        self._header: FrameHeader | None = None
        self._kind: MessageKind | None = None  # of _header; None: its frame is being skipped
        self._message: messages.Message | None = None  # of _header, once its body is complete

    @property
    def mid_frame(self) -> bool:
        """Whether a frame was begun and not completed."""
        return self._header is not None or len(self._buffer) > 0

    def next_frame(self) -> Frame | None:
        """The next complete frame, or None while bytes are missing. Raises Violation."""
        header = self._header or self._read_header()
        if header is None:
            return None
        if self._kind is None:
            return self._finish_skipping(header)
        if self._message is None:
            body = self._buffer.take(header.body_length)
            if body is None:
                return None
            self._message = decode_body(self._kind, header, body)
        payload = self._buffer.take(header.payload_length)
        if payload is None:
            return None
        frame = Frame(header, self._kind, self._message, payload)
        self._header = self._message = None
        return frame

    def _read_header(self) -> FrameHeader | None:
        """The next header, judged: after this, what it announces may be allocated."""
        raw = self._buffer.peek(HEADER_LENGTH)
        if raw is None:
            return None
        header = decode_header(raw)
        kind = KINDS.get(header.type)
        if kind is not None and not self._talk.knows(kind):
            kind = None  # as if it had never been heard of
        if kind is None:
            self._talk.admit_unknown(self._sender, header.type, header.request)
        else:
            self._talk.admit(kind, self._sender, header.request, header.payload_length)
            check_lengths(kind, header.body_length, header.payload_length)
        self._buffer.consume(HEADER_LENGTH)
        if kind is None:
            self._buffer.skip(header.body_length + header.payload_length)
        self._header, self._kind = header, kind
        return header

    def _finish_skipping(self, header: FrameHeader) -> Frame | None:
        if self._buffer.still_skipping():
            return None
        self._header = None
        return Frame(header, None, None, b"")
