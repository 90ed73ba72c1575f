"""Between frames and messages: which type code is which message, who sends it, and how large it may be.

Only this module knows both sides: `frames.py` knows no fields, `messages` knows no lengths.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import msgspec

from protocol.wire import limits, messages
from protocol.wire.errors import FailureCode, Violation
from protocol.wire.frames import FrameHeader
from protocol.wire.types import MessageType as M
from protocol.wire.types import Role


class Manner(Enum):
    """How a message stands to requests."""

    REQUEST = "request"  # has a fresh id, not 0; gets exactly one final answer
    ANSWER = "answer"  # has its request's id and ends it
    PART = "part"  # has its request's id and does not end it
    NOTICE = "notice"  # has id 0; gets no answer
    FAILURE = "failure"  # an answer to any request, or with id 0 the end of the sender's voice


@dataclass(frozen=True, slots=True)
class MessageKind:
    """One row of the registry. Bounds are bytes."""

    code: M
    cls: type[messages.Message]
    senders: frozenset[Role]
    manner: Manner
    answers: M | None  # the request that this answers
    max_body: int
    min_payload: int
    max_payload: int
    decoder: "msgspec.msgpack.Decoder[Any]" = field(repr=False, compare=False)


_A: Final = frozenset({Role.AGENT})
_G: Final = frozenset({Role.GATEWAY})
_BOTH: Final = _A | _G
_TINY: Final = limits.MAX_SMALL_BODY
_STRANGER: Final = limits.MAX_STRANGER_BODY
_IDS: Final = limits.MAX_IDS * limits.LONG_ID + 1024
_FETCH: Final = limits.MAX_FETCH_IDS * limits.LONG_ID + 1024
_FULL: Final = limits.MAX_BODY
_CONTROL: Final = limits.MAX_CONTROL_BODY
_NONE: Final = (0, 0)
_SEALED: Final = (1, limits.MAX_SEALED)
_ROOT: Final = (limits.MIN_ROOT, limits.MAX_PAYLOAD)

_Q, _E, _P, _N = Manner.REQUEST, Manner.ANSWER, Manner.PART, Manner.NOTICE

# code, class, senders, manner, answers, max body, (min, max) payload
_ROWS: Final[tuple[tuple[M, type[messages.Message], frozenset[Role], Manner, M | None, int, tuple[int, int]], ...]] = (
    (M.HELLO, messages.Hello, _A, _Q, None, _STRANGER, _NONE),
    (M.WELCOME, messages.Welcome, _G, _E, M.HELLO, 2 * _STRANGER, _NONE),
    (M.ENROLL, messages.Enroll, _A, _Q, None, _STRANGER, _NONE),
    (M.ENROLLED, messages.Enrolled, _G, _E, M.ENROLL, 2 * _STRANGER, _NONE),
    (M.PUBLISH, messages.Publish, _A, _Q, None, _TINY, _NONE),
    (M.PUBLISHED, messages.Published, _G, _E, M.PUBLISH, _TINY, _NONE),
    (M.PING, messages.Ping, _BOTH, _Q, None, _TINY, _NONE),
    (M.PONG, messages.Pong, _BOTH, _E, M.PING, _TINY, _NONE),
    (M.FAILURE, messages.Failure, _BOTH, Manner.FAILURE, None, _TINY, _NONE),
    (M.GOODBYE, messages.Goodbye, _BOTH, _N, None, _TINY, _NONE),
    (M.BEGIN, messages.Begin, _A, _Q, None, _TINY, _NONE),
    (M.BEGUN, messages.Begun, _G, _E, M.BEGIN, _FULL, _NONE),
    (M.QUESTION, messages.Question, _A, _Q, None, _IDS, _NONE),
    (M.ANSWER, messages.Answer, _G, _E, M.QUESTION, _TINY, _NONE),
    (M.PUT, messages.Put, _A, _N, None, _TINY, _SEALED),
    (M.STORED, messages.Stored, _G, _N, None, _TINY, _NONE),
    (M.FLUSH, messages.Flush, _A, _Q, None, _TINY, _NONE),
    (M.FLUSHED, messages.Flushed, _G, _E, M.FLUSH, _TINY, _NONE),
    (M.COMMIT, messages.Commit, _A, _Q, None, _FULL, _ROOT),
    (M.COMMITTED, messages.Committed, _G, _E, M.COMMIT, _TINY, _NONE),
    (M.MISSING, messages.Missing, _G, _E, M.COMMIT, _FULL, _NONE),
    (M.LIST, messages.List, _A, _Q, None, _TINY, _NONE),
    (M.SNAPSHOTS, messages.Snapshots, _G, _E, M.LIST, _FULL, _NONE),
    (M.PROVE, messages.Prove, _A, _Q, None, _TINY, _NONE),
    (M.PROVED, messages.Proved, _G, _E, M.PROVE, _TINY, _NONE),
    (M.ROOT, messages.Root, _A, _Q, None, _TINY, _NONE),
    (M.ROOT_IS, messages.RootIs, _G, _E, M.ROOT, _FULL, _ROOT),
    (M.FETCH, messages.Fetch, _A, _Q, None, _FETCH, _NONE),
    (M.RECORD, messages.Record, _G, _P, M.FETCH, _TINY, _SEALED),
    (M.FETCHED, messages.Fetched, _G, _E, M.FETCH, _FETCH, _NONE),
    (M.EXPLAIN, messages.Explain, _A, _Q, None, _TINY, _NONE),
    (M.EXPLAINED, messages.Explained, _G, _E, M.EXPLAIN, _FULL, _NONE),
    (M.DRILLED, messages.Drilled, _A, _Q, None, _CONTROL, _NONE),
    (M.NOTED, messages.Noted, _G, _E, M.DRILLED, _TINY, _NONE),
    (M.THAW, messages.Thaw, _A, _Q, None, _TINY, _NONE),
    (M.THAWING, messages.Thawing, _G, _E, M.THAW, _TINY, _NONE),
    (M.STATUS, messages.Status, _A, _Q, None, _TINY, _NONE),
    (M.STATUS_IS, messages.StatusIs, _G, _E, M.STATUS, _FULL, _NONE),
    (M.CONTROL, messages.Control, _A, _Q, None, _CONTROL, _NONE),
    (M.CONTROLLED, messages.Controlled, _G, _E, M.CONTROL, _FULL, _NONE),
    (M.PROGRESS, messages.Progress, _A, _N, None, _CONTROL, _NONE),
    (M.REPORT, messages.Report, _A, _Q, None, _CONTROL, _NONE),
    (M.REPORTED, messages.Reported, _G, _E, M.REPORT, _TINY, _NONE),
    (M.RENEW, messages.Renew, _A, _Q, None, _TINY, _NONE),
    (M.RENEWED, messages.Renewed, _G, _E, M.RENEW, 2 * _TINY, _NONE),
    (M.OFFER, messages.Offer, _G, _Q, None, _FULL, _NONE),
    (M.ACCEPTED, messages.Accepted, _A, _E, M.OFFER, _TINY, _NONE),
    (M.CANCEL, messages.Cancel, _G, _Q, None, _TINY, _NONE),
    (M.CANCELLED, messages.Cancelled, _A, _E, M.CANCEL, _TINY, _NONE),
    (M.CONFIGURE, messages.Configure, _G, _Q, None, _FULL, _NONE),
    (M.CONFIGURED, messages.Configured, _A, _E, M.CONFIGURE, _TINY, _NONE),
)

KINDS: Final[dict[int, MessageKind]] = {
    row[0]: MessageKind(*row[:6], *row[6], msgspec.msgpack.Decoder(row[1])) for row in _ROWS
}
_BY_CLASS: Final[dict[type, MessageKind]] = {kind.cls: kind for kind in KINDS.values()}
_ENCODER: Final = msgspec.msgpack.Encoder()


def kind_of(message: messages.Message) -> MessageKind:
    """The registry row of a message. Raises Violation for an object that is not one."""
    kind = _BY_CLASS.get(type(message))
    if kind is None:
        raise Violation(f"{type(message).__name__} is not a message of this protocol.", FailureCode.UNSUPPORTED)
    return kind


def check_lengths(kind: MessageKind, body_length: int, payload_length: int) -> None:
    """Raise Violation (TOO_LARGE or PROTOCOL) unless this type may be so long. Runs before anything is allocated."""
    if body_length > kind.max_body:
        what = f"{kind.code.name} has a body of {body_length} bytes; at most {kind.max_body} are allowed."
        raise Violation(what, FailureCode.TOO_LARGE)
    if payload_length > kind.max_payload:
        what = f"{kind.code.name} has a payload of {payload_length} bytes; at most {kind.max_payload} are allowed."
        raise Violation(what, FailureCode.TOO_LARGE)
    if payload_length < kind.min_payload:
        raise Violation(f"{kind.code.name} needs a payload of {kind.min_payload} bytes or more, not {payload_length}.")


def encode_body(message: messages.Message) -> bytes:
    """The MessagePack map of a message."""
    return _ENCODER.encode(message)


def decode_body(kind: MessageKind, header: FrameHeader, body: bytes | bytearray) -> messages.Message:
    """The message in a body. Raises Violation (INVALID) if it is no MessagePack, or a field is wrong or missing."""
    try:
        message: messages.Message = kind.decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        what = f"The body of {kind.code.name} (request {header.request}) is not valid: {fault}"
        raise Violation(what, FailureCode.INVALID) from fault
    return message
