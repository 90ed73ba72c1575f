"""The two kinds of protocol fault, and the codes by which they cross the wire.

    ProtocolError
    ├── LocalProtocolError      we broke the rules; nothing of it was sent
    │   └── InvalidMessage      a message was constructed with a field out of bounds
    └── RemoteProtocolError     the peer broke the rules

`Violation` is neutral and internal: frames, tables and ledgers do not know whose act they judge. Connection turns it
into one of the two kinds, in one place each.
"""

from enum import IntEnum


class FailureCode(IntEnum):
    """Codes of a FAILURE message. A receiver treats a code that it does not know like INTERNAL."""

    PROTOCOL = 1  # the peer broke the order or the form of frames; always ends the connection
    VERSION = 2  # no protocol version in common
    AUTHENTICATION = 3  # no certificate, or one that is not known
    TOKEN = 4  # the enrolment token is used up, expired or unknown: one answer for all three
    REVOKED = 5  # the machine was revoked
    BUSY = 6  # another backup of this machine is live, or the gateway is full; see retry_after
    NOT_FOUND = 7  # no such snapshot, machine or block, or not for the caller: one answer for both
    FORBIDDEN = 8  # the machine may not do this (write-only; scope not proved)
    FENCED = 9  # a newer connection took the session over
    TEMPORARY = 10  # disk full, database away; see retry_after
    TOO_LARGE = 11  # a length or count beyond its limit
    RATE = 12  # too many questions; see retry_after
    INVALID = 13  # content refused: bad statement, wrong hash, a field out of bounds
    INTERNAL = 14  # the peer's own fault
    ELSEWHERE = 15  # another gateway has it
    UNSUPPORTED = 16  # a message type that the peer does not know; only that request fails
    DAMAGED = 17  # what was asked for was stored, and is damaged or lost; only that request fails
    COLD = 18  # it lies whole in cold storage and cannot be read before it was thawed; only that request fails


class ProtocolError(Exception):
    """A rule of the protocol was broken. `code` is what FAILURE carries, `what` one sentence without secrets."""

    def __init__(self, code: FailureCode, what: str) -> None:
        super().__init__(what)
        self.code = code
        self.what = what


class LocalProtocolError(ProtocolError):
    """This side tried something that the protocol does not allow. Nothing of it was sent."""


class InvalidMessage(LocalProtocolError, ValueError):
    """A message was constructed with a field of the wrong type, length or range."""

    def __init__(self, what: str) -> None:
        super().__init__(FailureCode.INVALID, what)


class RemoteProtocolError(ProtocolError):
    """The peer sent something that the protocol does not allow. The connection has failed."""


class Violation(Exception):
    """A broken rule, before it is known who broke it."""

    def __init__(self, what: str, code: FailureCode = FailureCode.PROTOCOL) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
