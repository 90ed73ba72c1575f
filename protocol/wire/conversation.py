"""The judge of a conversation: may this be said now, and what does it change?

Like the tables, it knows the two parties and not which one we are. Connection asks it twice for each message, ours or
the peer's: `admit` on the header, before anything is allocated, and `record` once body and payload are complete.
"""

from protocol.wire import messages
from protocol.wire.codec import Manner, MessageKind
from protocol.wire.errors import FailureCode, Violation
from protocol.wire.features import FEATURE_OF
from protocol.wire.flight import Asked, Puts, Requests, check_answer
from protocol.wire.states import BEFORE_READY, Phase, act_of_answer, act_of_request, check_may_open, turn
from protocol.wire.types import MessageType, Role
from protocol.wire.versions import choose_version


class Conversation:
    """Phase, voices, requests and PUTs in flight, and the judgement of every message by them."""

    def __init__(self) -> None:
        self.phase = Phase.OPENING
        self.version: int | None = None  # chosen at HELLO, settled by WELCOME
        self.puts = Puts()
        self.ended: set[Role] = set()  # voices that said GOODBYE or a closing FAILURE
        self.requests = {Role.AGENT: Requests(), Role.GATEWAY: Requests()}
        self.features: frozenset[str] = frozenset()  # those that HELLO offered and WELCOME repeated
        self._offered: tuple[int, ...] = ()
        self._wished: frozenset[str] = frozenset()

    def knows(self, kind: MessageKind) -> bool:
        """Whether messages of this kind exist on this connection: those of a feature only where it was agreed on."""
        feature = FEATURE_OF.get(kind.code)
        return feature is None or feature in self.features

    def admit(self, kind: MessageKind, sender: Role, request: int, payload_length: int) -> None:
        """Judge a header, before anything is allocated for it. Raises Violation."""
        if sender in self.ended:
            raise Violation(f"The {sender.value} had ended its side and sends {kind.code.name}.")
        if not self.knows(kind):
            what = f"{kind.code.name} needs the feature '{FEATURE_OF[kind.code]}', which this connection has not."
            raise Violation(what, FailureCode.UNSUPPORTED)
        if sender not in kind.senders:
            raise Violation(f"{kind.code.name} is not for the {sender.value} to send.")
        if kind.manner is Manner.NOTICE and request:
            raise Violation(f"{kind.code.name} is not a request: its request id must be 0, not {request}.")
        if kind.manner in (Manner.ANSWER, Manner.PART) or (kind.manner is Manner.FAILURE and request):
            self.requests[sender.peer].find(kind, request)
        elif kind.code is not MessageType.GOODBYE and kind.manner is not Manner.FAILURE:
            check_may_open(self.phase, sender, kind.code)
        if kind.code is MessageType.PUT:
            self.puts.check_room(payload_length)

    def admit_unknown(self, sender: Role, code: int, request: int) -> None:
        """Judge the header of a type that is not known here. After the welcome it is skipped, not fatal.

        With a request id it counts as a request, so that FAILURE can answer it.
        """
        if sender in self.ended:
            raise Violation(f"The {sender.value} had ended its side and sends message type {code}.")
        if self.phase in BEFORE_READY:
            what = f"Message type {code} is not known, and the peer has not been welcomed."
            raise Violation(what, FailureCode.UNSUPPORTED)
        if request:
            self.requests[sender].book(request, Asked(code, known=False))

    def record(
        self, kind: MessageKind, sender: Role, request: int, message: messages.Message, payload_length: int
    ) -> None:
        """Book a message that was admitted. Raises Violation and books nothing if its content does not fit."""
        if kind.manner is Manner.REQUEST:
            self._record_request(kind, sender, request, message)
        elif kind.manner in (Manner.ANSWER, Manner.PART) or request:
            self._record_answer(kind, sender, request, message)
        else:
            self._record_notice(sender, message, payload_length)

    def _record_request(self, kind: MessageKind, sender: Role, request: int, message: messages.Message) -> None:
        if isinstance(message, messages.Hello):
            self.version = choose_version(message.versions)
            self._offered, self._wished = tuple(message.versions), frozenset(message.features)
        following = turn(self.phase, sender, act_of_request(kind.code))
        self.requests[sender].ask(kind, request, message, self.puts.sent)
        self.phase = following

    def _record_answer(self, kind: MessageKind, sender: Role, request: int, message: messages.Message) -> None:
        requests = self.requests[sender.peer]
        asked = requests.find(kind, request)
        check_answer(asked, message, self.puts.acknowledged)
        authenticated = isinstance(message, messages.Welcome) and self._welcome(message)
        act = act_of_answer(kind.code, asked.code, authenticated=authenticated) if asked.known else None
        following = turn(self.phase, sender, act)
        requests.answer(kind, request)
        if isinstance(message, messages.Begun):
            self.puts.begin(message.window)
        elif isinstance(message, messages.Committed):
            self.puts.store_all()
        elif isinstance(message, messages.Failure) and asked.code is MessageType.HELLO:
            self._end(sender)
        self.phase = following

    def _welcome(self, message: messages.Welcome) -> bool:
        if message.version not in self._offered:
            what = f"WELCOME chose version {message.version}, which HELLO did not offer."
            raise Violation(what, FailureCode.VERSION)
        self.version = message.version
        self.features = self._wished.intersection(message.features)
        return message.authenticated

    def _record_notice(self, sender: Role, message: messages.Message, payload_length: int) -> None:
        match message:
            case messages.Put():
                self.puts.put(payload_length)
            case messages.Stored():
                self.puts.store(message.through)
            case messages.Goodbye() | messages.Failure():  # FAILURE with request id 0
                self._end(sender)
            case _:  # PROGRESS changes nothing here
                pass

    def _end(self, sender: Role) -> None:
        self.ended.add(sender)
        if len(self.ended) == len(Role):
            self.phase = Phase.CLOSED
