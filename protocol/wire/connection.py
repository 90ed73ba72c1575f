"""One end of a conversation: bytes in, events out; messages in, bytes out.

Connection has no socket, no clock and no threads. Whoever holds one (the gateway's peer, the agent's transport) reads
into `buffer()` and says `filled(n)`, takes events until NEED_DATA, writes what `send()` returns in order, and keeps the
times of `limits`. It is not thread-safe.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from protocol.wire import limits, messages
from protocol.wire.codec import check_lengths, encode_body, kind_of
from protocol.wire.conversation import Conversation
from protocol.wire.errors import (
    FailureCode,
    InvalidMessage,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    Violation,
)
from protocol.wire.frame_reader import Frame, FrameReader
from protocol.wire.frames import encode_header
from protocol.wire.receive_buffer import ReceiveBuffer
from protocol.wire.states import Phase
from protocol.wire.types import MessageType, Role

Buffer = bytes | bytearray | memoryview


class Need(Enum):
    """What next_event() returns when there is no event."""

    DATA = "data"


NEED_DATA: Final = Need.DATA


@dataclass(frozen=True, slots=True)
class Event:
    """A message of the peer. `payload` belongs to the receiver; nothing writes to it any more."""

    message: messages.Message
    request: int
    payload: Buffer


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A frame of a type that is not known here was skipped. Unless `request` is 0, send `failure` with that id."""

    type: int
    request: int

    @property
    def failure(self) -> messages.Failure:
        """The polite answer."""
        what = f"Message type {self.type} is not known on this side."
        return messages.Failure(code=FailureCode.UNSUPPORTED, message=what)


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream ended between two frames. `clean`: the peer had said GOODBYE or a closing FAILURE before."""

    clean: bool


class Connection:
    """One end of a connection, as `role`. After an error it is in Phase.FAILED and refuses everything but refusal()."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._talk = Conversation()
        self._received = ReceiveBuffer()
        self._given: deque[memoryview] = deque()  # from receive_data(), not yet in the buffer
        self._reader = FrameReader(self._received, self._talk, role.peer)
        self._eof = False
        self._refused = False
        self._last_request = 0

    # --- what the shell may look at ----------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """Where the conversation stands."""
        return self._talk.phase

    @property
    def version(self) -> int | None:
        """The protocol version: chosen from HELLO (the gateway says it in its WELCOME), settled by WELCOME."""
        return self._talk.version

    @property
    def features(self) -> frozenset[str]:
        """The optional things that HELLO offered and WELCOME repeated; see features.py."""
        return self._talk.features

    @property
    def puts(self) -> int:
        """The ordinal of the newest PUT sent (agent) or delivered by next_event() (gateway)."""
        return self._talk.puts.sent

    @property
    def acknowledged(self) -> int:
        """The ordinal up to which PUTs are durable."""
        return self._talk.puts.acknowledged

    @property
    def unacknowledged_bytes(self) -> int:
        """Payload bytes of the PUTs after `acknowledged`."""
        return self._talk.puts.unacknowledged_bytes

    @property
    def mid_frame(self) -> bool:
        """Whether a frame was begun and not completed: the shell holds it to limits.FRAME_STALL."""
        return self._reader.mid_frame or bool(self._given)

    @property
    def requests_in_flight(self) -> int:
        """How many of our own requests wait for an answer."""
        return len(self._talk.requests[self.role])

    def can_put(self, size: int) -> bool:
        """Whether a PUT with a payload of `size` bytes fits into the window now."""
        return self._talk.puts.has_room(size)

    def new_request(self) -> int:
        """A request id that was not used on this connection before (until four thousand million have been)."""
        self._last_request = self._last_request % limits.MAX_REQUEST_ID + 1
        return self._last_request

    # --- receiving ---------------------------------------------------------------------------------------------------

    def buffer(self) -> memoryview:
        """Where to read the next bytes into; never empty. Raises LocalProtocolError after eof or a failure."""
        self._check_receiving()
        if self._given:
            raise LocalProtocolError(FailureCode.INTERNAL, "Data from receive_data() is waiting: take events first.")
        return self._received.buffer()

    def filled(self, count: int) -> None:
        """Say that `count` bytes were read into the last buffer(). Events are made by next_event()."""
        self._received.filled(count)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """The simple door: give bytes. They are kept until next_event() has used them, so take events in between."""
        self._check_receiving()
        if data:
            self._given.append(memoryview(bytes(data)))

    def receive_eof(self) -> None:
        """Say that the stream has ended. next_event() returns what is complete, then Ended, or raises mid-frame."""
        self._eof = True

    def next_event(self) -> Event | Unsupported | Ended | Literal[Need.DATA]:
        """The next event, or NEED_DATA. Raises RemoteProtocolError at the peer's first fault, and LocalProtocolError
        if asked again after a failure."""
        if self._talk.phase is Phase.FAILED:
            raise LocalProtocolError(FailureCode.INTERNAL, "This connection has failed; it understands nothing more.")
        try:
            return self._next_event()
        except Violation as fault:  # the one place where the peer's faults get their name
            self._talk.phase = Phase.FAILED
            raise RemoteProtocolError(fault.code, fault.what) from fault

    def _next_event(self) -> Event | Unsupported | Ended | Literal[Need.DATA]:
        while True:
            frame = self._reader.next_frame()
            if frame is not None:
                return self._event_of(frame)
            if self._given:
                self._feed()
            elif self._eof:
                return self._end()
            else:
                return NEED_DATA

    def _event_of(self, frame: Frame) -> Event | Unsupported:
        header, kind, message, payload = frame
        if kind is None or message is None:
            return Unsupported(header.type, header.request)
        self._talk.record(kind, self.role.peer, header.request, message, header.payload_length)
        return Event(message, header.request, payload)

    def _feed(self) -> None:
        """Move given bytes into the buffer, as many as fit."""
        data, view = self._given[0], self._received.buffer()
        count = min(len(data), len(view))
        view[:count] = data[:count]
        self._received.filled(count)
        if count == len(data):
            self._given.popleft()
        else:
            self._given[0] = data[count:]

    def _end(self) -> Ended:
        if self._reader.mid_frame:
            raise Violation("The stream ended in the middle of a frame.")
        clean = self.role.peer in self._talk.ended
        self._talk.phase = Phase.CLOSED
        return Ended(clean)

    def _check_receiving(self) -> None:
        if self._eof or self._talk.phase is Phase.FAILED:
            raise LocalProtocolError(FailureCode.INTERNAL, "This connection takes no more data: it ended or failed.")

    # --- sending -----------------------------------------------------------------------------------------------------

    def send(self, message: messages.Message, request: int = 0, payload: Buffer = b"") -> list[Buffer]:
        """The buffers of one frame, to be written in order and unchanged; the payload is passed on, not copied.

        Raises LocalProtocolError if the protocol does not allow it now; after that only refusal() may be sent.
        """
        if self._talk.phase is Phase.FAILED:
            raise LocalProtocolError(FailureCode.INTERNAL, "This connection has failed; it sends nothing more.")
        try:
            return self._encode(message, request, payload)
        except Violation as fault:  # the one place where our own faults get their name
            self._talk.phase = Phase.FAILED
            raise LocalProtocolError(fault.code, fault.what) from fault

    def _encode(self, message: messages.Message, request: int, payload: Buffer) -> list[Buffer]:
        kind = kind_of(message)
        if not 0 <= request <= limits.MAX_REQUEST_ID:
            raise Violation(f"Request id {request} is not a 32-bit number.")
        payload_length = payload.nbytes if isinstance(payload, memoryview) else len(payload)
        self._talk.admit(kind, self.role, request, payload_length)
        body = encode_body(message)
        check_lengths(kind, len(body), payload_length)
        self._talk.record(kind, self.role, request, message, payload_length)
        head = encode_header(kind.code, request, len(body), payload_length) + body
        return [head, payload] if payload_length else [head]

    def refusal(self, error: ProtocolError, retry_after: float | None = None) -> list[Buffer]:
        """The last frame after a fault: FAILURE with the error's code. Empty if our voice had already ended.

        Write it, then close: nothing that the peer sends afterwards is looked at.
        """
        if self._refused or self.role in self._talk.ended or self._eof:
            return []
        self._refused = True
        self._talk.phase = Phase.FAILED
        failure = _failure(error.code, error.what, retry_after)
        body = encode_body(failure)
        return [encode_header(MessageType.FAILURE, 0, len(body), 0) + body]


def _failure(code: int, what: str, retry_after: float | None) -> messages.Failure:
    """A FAILURE that can be sent whatever the error says: the last word must not fail itself."""
    sentence = what[: limits.MAX_TEXT]
    try:
        return messages.Failure(code=code, message=sentence, retry_after=retry_after)
    except InvalidMessage:
        return messages.Failure(code=code, message=sentence)
