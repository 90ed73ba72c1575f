"""What is in flight: requests that wait for answers, and PUTs that wait to be acknowledged.

Both ends keep the same books and judge by them: an answer needs its question, an acknowledgement its PUT. Whoever keeps
them does not matter here; `Connection` holds one `Requests` per asking party and one `Puts`.
"""

from collections import deque
from dataclasses import dataclass

from protocol.wire import limits, messages
from protocol.wire.codec import Manner, MessageKind
from protocol.wire.errors import FailureCode, Violation
from protocol.wire.types import MessageType as M


@dataclass(slots=True)
class Asked:
    """A request in flight."""

    code: int  # the type that asked; one that is not known here can only be answered by FAILURE
    ids: int = 0  # how many ids a QUESTION asks about
    parts: int = 0  # how many RECORDs may still come for a FETCH
    puts: int = 0  # the ordinal of the last PUT before a FLUSH
    known: bool = True  # False: of a type or feature that does not exist here, whatever its code means elsewhere


class Requests:
    """The requests of one party that have no final answer yet."""

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, kind: MessageKind, request: int, message: messages.Message, puts: int) -> None:
        """Book a request of a known type. Raises Violation as book() does, and if its id is 0."""
        if request == 0:
            raise Violation(f"{kind.code.name} is a request and needs a request id other than 0.")
        self.book(request, _asked_by(kind.code, message, puts))

    def book(self, request: int, asked: Asked) -> None:
        """Note that `request` waits for its answer. Raises Violation if its id is in use, or too many are in flight."""
        if request in self._asked:
            raise Violation(f"Request id {request} is still in use.")
        if len(self._asked) >= limits.MAX_REQUESTS_IN_FLIGHT:
            what = f"More than {limits.MAX_REQUESTS_IN_FLIGHT} requests are in flight."
            raise Violation(what, FailureCode.TOO_LARGE)
        self._asked[request] = asked

    def find(self, kind: MessageKind, request: int) -> Asked:
        """The request that this answers. Raises Violation if there is none, or it asked for something else."""
        asked = self._asked.get(request)
        if asked is None:
            raise Violation(f"{kind.code.name} answers request {request}, which is not in flight.")
        if kind.answers not in (None, asked.code):
            raise Violation(f"{kind.code.name} does not answer request {request}, which has type {int(asked.code)}.")
        if kind.manner is Manner.PART and asked.parts == 0:
            raise Violation(f"{kind.code.name} comes more often than request {request} asked for.")
        return asked

    def answer(self, kind: MessageKind, request: int) -> None:
        """Book a valid answer: a part counts down, anything else ends the request."""
        if kind.manner is Manner.PART:
            self._asked[request].parts -= 1
        else:
            del self._asked[request]


def _asked_by(kind: M, message: messages.Message, puts: int) -> Asked:
    match message:
        case messages.Question():
            return Asked(kind, ids=len(message.ids) // limits.LONG_ID)
        case messages.Fetch():
            return Asked(kind, parts=max(1, len(message.ids) // limits.LONG_ID))
        case messages.Flush():
            return Asked(kind, puts=puts)
        case _:
            return Asked(kind)


def check_answer(asked: Asked, message: messages.Message, acknowledged: int) -> None:
    """Raise Violation if an answer's content does not fit its request."""
    match message:
        case messages.Answer():
            _check_bitmap(asked.ids, message.missing)
        case messages.Flushed() if acknowledged < asked.puts:
            raise Violation(f"FLUSHED before STORED: {acknowledged} of {asked.puts} PUTs are acknowledged.")
        case _:
            pass


def _check_bitmap(ids: int, bitmap: bytes) -> None:
    if len(bitmap) != (ids + 7) // 8:
        raise Violation(f"ANSWER has {len(bitmap)} bytes for {ids} ids; it needs {(ids + 7) // 8}.")
    spare = -ids % 8
    if spare and bitmap[-1] >> (8 - spare):
        raise Violation(f"ANSWER has bits set beyond its {ids} ids.")


class Puts:
    """PUTs of a connection, numbered from 1, and how many of their bytes are not acknowledged."""

    def __init__(self) -> None:
        self.sent: int = 0  # ordinal of the newest PUT
        self.acknowledged: int = 0  # ordinal up to which PUTs are durable
        self.window: int = limits.WINDOW  # what BEGUN allowed
        self.unacknowledged_bytes: int = 0
        self._sizes: deque[int] = deque()

    def has_room(self, size: int) -> bool:
        """Whether a PUT of `size` bytes may be sent now."""
        return self.unacknowledged_bytes + size <= self.window and len(self._sizes) < limits.MAX_PUTS_IN_FLIGHT

    def check_room(self, size: int) -> None:
        """Raise Violation (TOO_LARGE) unless a PUT of `size` bytes may be sent now."""
        if not self.has_room(size):
            what = f"A PUT of {size} bytes exceeds the window: {self.unacknowledged_bytes} bytes are unacknowledged."
            raise Violation(what, FailureCode.TOO_LARGE)

    def put(self, size: int) -> None:
        """Book a PUT. Raises Violation (TOO_LARGE) beyond the window."""
        self.check_room(size)
        self.sent += 1
        self.unacknowledged_bytes += size
        self._sizes.append(size)

    def store(self, through: int) -> None:
        """Book an acknowledgement. Raises Violation if it goes back, or beyond the last PUT."""
        if not self.acknowledged < through <= self.sent:
            what = f"STORED through {through} is outside {self.acknowledged + 1} to {self.sent}."
            raise Violation(what)
        while self.acknowledged < through:
            self.acknowledged += 1
            self.unacknowledged_bytes -= self._sizes.popleft()

    def begin(self, window: int) -> None:
        """A new session: its window holds from here on."""
        self.window = window

    def store_all(self) -> None:
        """A commit acknowledges every PUT before it."""
        self.acknowledged = self.sent
        self.unacknowledged_bytes = 0
        self._sizes.clear()
