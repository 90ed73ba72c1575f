"""One connection to the gateway and the one thread that reads from and writes to its socket.

Every other thread only appends to a queue and waits for a future. The socket never blocks: while the network takes no
more bytes, answers still arrive, and the other way round. Nothing large is copied: what was queued is sent from where
it lies, and what arrives is read into the protocol's own buffer.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.errors import AgentError, Disconnected, Refused
from agents.transport.faults import failure, network_fault
from protocol.wire import NEED_DATA, Buffer, Connection, Event, Phase, Role, Unsupported, limits, messages
from protocol.wire.codec import Manner, kind_of
from protocol.wire.errors import FailureCode, LocalProtocolError, ProtocolError

if TYPE_CHECKING:
    from agents.transport.throttle import Throttle

JOIN_BELOW = 4096
"""Pieces smaller than this are joined before they are sent: one TLS record instead of several."""
TURN = 1 << 20
"""Bytes sent before it is the reader's turn again, and the other way round."""
MOST_PONGS = 65_536
"""PINGs answered while older bytes of ours are still queued: a gateway that only asks and never reads is left."""
SILENCE = 1800.0
"""Seconds to wait for an answer or an acknowledgement while nothing but PINGs and PONGs is heard. The longest honest
silence is the commit of a very large snapshot, which takes minutes."""

OnEvent = Callable[[Event], None]
_SILENT = frozenset({Phase.OPENING, Phase.GREETING, Phase.CLOSED, Phase.FAILED})
"""Phases in which nobody may send PING; their length is bounded by whoever waits."""


@dataclass
class _Waiting:
    future: Future[Any] = field(default_factory=Future)
    on_part: OnEvent | None = None
    is_ping: bool = False


class Channel:
    """One live connection. It is born connected, and once broken it stays broken.

    `on_notice` gets what nobody asked for (STORED), `on_request` what the gateway asks (to be answered with `respond`);
    `on_broken` is told once why it ended. All are called by the channel's own thread and must not block. `throttle`
    says how fast it may send.
    """

    def __init__(
        self,
        secured: ssl.SSLSocket,
        where: str,
        on_notice: Callable[[Channel, Event], None] | None = None,
        on_broken: Callable[[Channel, AgentError], None] | None = None,
        throttle: Throttle | None = None,
        on_request: Callable[[Channel, Event], None] | None = None,
    ) -> None:
        self.where = where
        self._socket = secured
        self._throttle = throttle
        self._on_request = on_request
        self._on_notice = on_notice
        self._on_broken = on_broken
        self._connection = Connection(Role.AGENT)
        self._lock = threading.Lock()
        self._outgoing: deque[memoryview] = deque()
        self._waiting: dict[int, _Waiting] = {}
        self._fault: AgentError | None = None
        self._closing_until: float | None = None
        self._told, self._ear = socket.socketpair()
        self._told.setblocking(False)
        self._ear.setblocking(False)
        now = time.monotonic()
        self._heard = self._sent = self._moved = self._useful = now
        self._pongs = 0
        self._refused_length = 0
        self._thread = threading.Thread(target=self._run, name="strongroom-io", daemon=True)
        self._thread.start()

    # --- for any thread --------------------------------------------------------------------------

    @property
    def fault(self) -> AgentError | None:
        """Why this connection ended; None while it lives."""
        return self._fault

    def request(
        self, message: messages.Message, payload: Buffer = b"", on_part: OnEvent | None = None
    ) -> Future[Event]:
        """Ask; the future gets the answer's event or an AgentError. RECORDs before the answer go to `on_part`."""
        with self._lock:
            if self._fault is not None:
                raise self._fault
            number = self._connection.new_request()
            waiting = _Waiting(on_part=on_part)
            self._enqueue(message, number, payload)
            self._waiting[number] = waiting
        self._wake()
        return waiting.future

    def notify(self, message: messages.Message, payload: Buffer = b"") -> None:
        """Send something that has no answer of its own (PUT)."""
        with self._lock:
            if self._fault is not None:
                raise self._fault
            self._enqueue(message, 0, payload)
        self._wake()

    def respond(self, message: messages.Message, request: int) -> None:
        """Answer what the gateway asked under this request id. A connection that broke meanwhile needs no answer."""
        with self._lock:
            if self._fault is None:
                self._enqueue(message, request, b"")
        self._wake()

    def _enqueue(self, message: messages.Message, request: int, payload: Buffer) -> None:
        pieces = self._connection.send(message, request, payload)
        self._outgoing.extend(memoryview(piece).cast("B") for piece in pieces if len(piece))

    def _wake(self) -> None:
        if threading.current_thread() is not self._thread:
            try:
                self._told.send(b"\0")
            except OSError:  # a full pipe wakes as well; a closed one means that nobody sleeps
                return

    def break_off(self, fault: AgentError) -> None:
        """End the connection now, with this reason. Never blocks."""
        with self._lock:
            self._fault = self._fault or fault
        self._wake()

    def close(self) -> None:
        """Say goodbye, let what is queued go out (five seconds at most), and end the thread."""
        try:
            self.notify(messages.Goodbye(reason="done"))
        except (AgentError, ProtocolError):
            self.break_off(Disconnected("The connection was closed."))
        with self._lock:
            self._closing_until = time.monotonic() + limits.GOODBYE
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(limits.GOODBYE + 1)

    # --- the channel's own thread ----------------------------------------------------------------

    def _run(self) -> None:
        fault: AgentError
        try:
            fault = self._serve()
        except OSError as problem:
            fault = network_fault(problem, self.where)
        except LocalProtocolError as problem:
            fault = Refused(f"This agent broke the protocol: {problem.what}.", "Report this.")
        except ProtocolError as problem:
            fault = Refused(f"The gateway at {self.where} broke the protocol: {problem.what}.", "Report this.")
        except AgentError as problem:
            fault = problem
        except Exception as problem:  # noqa: BLE001 - the last line of a thread: waiters must hear of any end
            fault = Refused(f"The connection's thread failed ({type(problem).__name__}).", "Report this.")
        self._end(fault)

    def _serve(self) -> AgentError:
        with selectors.DefaultSelector() as selector:
            selector.register(self._ear, selectors.EVENT_READ)
            selector.register(self._socket, selectors.EVENT_READ)
            while True:
                more_to_hear = self._hear()
                blocked = self._speak()
                if (fault := self._finished()) is not None:
                    return fault
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if blocked else 0)
                selector.modify(self._socket, events)
                held_back = self._throttle.wait() if self._throttle is not None and self._outgoing else 0.0
                more = more_to_hear or (bool(self._outgoing) and not blocked and not held_back)
                selector.select(self._patience(more=more, held_back=held_back))
                self._drain_ear()

    def _finished(self) -> AgentError | None:
        """Say why the loop shall end, if it shall; keep the line alive if it is silent."""
        now = time.monotonic()
        with self._lock:
            if self._fault is not None:
                return self._fault
            if self._closing_until is not None and (not self._outgoing or now > self._closing_until):
                return Disconnected("The connection was closed.")
            if now - self._heard > limits.IDLE:
                return Disconnected(f"The gateway at {self.where} has said nothing for {limits.IDLE:.0f} s.")
            if self._outgoing and now - self._moved > limits.FRAME_STALL:
                return Disconnected(f"The gateway at {self.where} takes no more data.")
            if self._outgoing or not self._is_owed():
                self._useful = now
            elif now - self._useful > SILENCE:
                return Disconnected(f"The gateway at {self.where} has not answered for {SILENCE / 60:.0f} min.")
            if self._closing_until is None and now - min(self._sent, self._heard) > limits.KEEP_ALIVE:
                self._ping(now)
        return None

    def _is_owed(self) -> bool:
        """Whether the gateway owes us an answer or an acknowledgement. PONGs pay nothing back."""
        unacknowledged = self._connection.puts > self._connection.acknowledged
        return unacknowledged or any(not waiting.is_ping for waiting in self._waiting.values())

    def _ping(self, now: float) -> None:
        if not self._outgoing and now - self._sent > limits.KEEP_ALIVE / 2 and self._connection.phase not in _SILENT:
            number = self._connection.new_request()
            self._waiting[number] = _Waiting(is_ping=True)
            self._enqueue(messages.Ping(), number, b"")
            self._sent = now

    def _patience(self, *, more: bool, held_back: float) -> float:
        return 0.0 if more else min(held_back or limits.KEEP_ALIVE, limits.KEEP_ALIVE / 4)

    def _drain_ear(self) -> None:
        try:
            while self._ear.recv(4096):
                pass
        except BlockingIOError:
            return

    def _hear(self) -> bool:
        """Read a turn's worth, telling every event as soon as it is whole. Returns whether there may be more."""
        budget = TURN
        while budget > 0:
            with self._lock:
                room = self._connection.buffer()
            try:
                size = self._socket.recv_into(room)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            if not size:
                raise Disconnected(f"The gateway at {self.where} closed the connection.", "Try again later.")
            self._heard = time.monotonic()
            budget -= size
            with self._lock:
                self._connection.filled(size)
            self._tell_events()
        return True

    def _tell_events(self) -> None:
        while True:
            with self._lock:
                event = self._connection.next_event()
            if event is NEED_DATA:
                return
            if isinstance(event, Event):
                self._tell(event)
            elif isinstance(event, Unsupported) and event.request:
                self._refuse(event)

    def _refuse(self, unknown: Unsupported) -> None:
        answer = messages.Failure(code=FailureCode.UNSUPPORTED, message="This agent does not know that message.")
        with self._lock:
            self._enqueue(answer, unknown.request, b"")

    def _tell(self, event: Event) -> None:
        message = event.message
        if isinstance(message, messages.Ping):
            self._pong(message, event.request)
            return
        if not isinstance(message, messages.Pong):
            self._useful = self._heard
        if isinstance(message, messages.Record):
            self._part(event)
        elif isinstance(message, messages.Goodbye):
            raise Disconnected(f"The gateway at {self.where} closed the connection.", "Try again later.")
        elif event.request:
            self._answered_or_asked(event)
        elif isinstance(message, messages.Failure):
            raise failure(message)
        elif self._on_notice is not None:
            self._on_notice(self, event)

    def _pong(self, ping: messages.Ping, request: int) -> None:
        self._pongs += 1
        if self._pongs > MOST_PONGS:
            raise Refused(f"The gateway at {self.where} sends PINGs and does not read the answers.", "Report this.")
        with self._lock:
            self._enqueue(messages.Pong(time=ping.time), request, b"")

    def _part(self, event: Event) -> None:
        waiting = self._waiting.get(event.request)
        if waiting is not None and waiting.on_part is not None:
            waiting.on_part(event)

    def _answered_or_asked(self, event: Event) -> None:
        """Ids of both sides' requests are their own: the kind of message tells an answer from a question."""
        if kind_of(event.message).manner is not Manner.REQUEST:
            self._answer(event)
        elif self._on_request is not None:
            self._on_request(self, event)
        else:
            said = messages.Failure(code=FailureCode.UNSUPPORTED, message="This connection takes no requests.")
            self.respond(said, event.request)

    def _answer(self, event: Event) -> None:
        with self._lock:
            waiting = self._waiting.pop(event.request, None)
        if waiting is None:
            return
        if isinstance(event.message, messages.Failure):
            settle(waiting.future, failure(event.message))
        else:
            settle(waiting.future, event)

    def _speak(self) -> bool:
        """Send what is queued, a turn's worth at most. Returns whether the socket takes no more at the moment."""
        budget = TURN
        while budget > 0:
            most = self._allowed()
            if most == 0:
                return False
            with self._lock:
                piece = self._next_piece()
            if piece is None:
                return False
            if len(piece) > most:
                self._put_back(piece[most:])
                piece = piece[:most]
            try:
                sent = self._socket.send(piece)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._refused_length = len(piece)
                self._put_back(piece)
                return True
            self._refused_length = 0
            self._sent = self._moved = time.monotonic()
            budget -= sent
            if self._throttle is not None:
                self._throttle.spent(sent)
            if sent < len(piece):
                self._put_back(piece[sent:])
        return False

    def _allowed(self) -> int:
        """The most bytes that may be sent in one piece now."""
        if self._throttle is None:
            return TURN
        self._throttle.look(self._socket)
        most = self._throttle.piece()
        if most == 0:
            self._moved = time.monotonic()  # it is us who wait, not the gateway
            return 0
        return max(most, self._refused_length)  # OpenSSL takes back no byte of what it was offered before

    def _next_piece(self) -> memoryview | None:
        if not self._outgoing:
            self._moved = time.monotonic()
            self._pongs = 0
            return None
        piece = self._outgoing.popleft()
        if len(piece) >= JOIN_BELOW or not self._outgoing or len(self._outgoing[0]) >= JOIN_BELOW:
            return piece
        small = bytearray(piece)
        while self._outgoing and len(self._outgoing[0]) < JOIN_BELOW and len(small) < 4 * JOIN_BELOW:
            small += self._outgoing.popleft()
        return memoryview(small)

    def _put_back(self, piece: memoryview) -> None:
        with self._lock:
            self._outgoing.appendleft(piece)

    def _end(self, fault: AgentError) -> None:
        with self._lock:
            self._fault = self._fault or fault
            waiting, self._waiting = self._waiting, {}
            self._outgoing.clear()
        for closing in (self._socket, self._told, self._ear):
            closing.close()
        for one in waiting.values():
            settle(one.future, self._fault)
        if self._on_broken is not None:
            self._on_broken(self, self._fault)


def settle(future: Future[Any], outcome: Any) -> None:
    """Give a future its result or its error, unless whoever waited has given up."""
    try:
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        return
