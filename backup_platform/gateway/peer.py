"""The shell around one Connection: uvloop fills its buffer directly, events wait in order, everything is bounded.

Only bytes and times here; what messages mean is session.py's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import structlog

from backup_platform.gateway.admission import ReceivedBytes
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.limits import GatewayLimits, held_bytes
from backup_platform.gateway.turns import LITTLE, ReadingTurns
from protocol.wire import NEED_DATA, Buffer, Connection, Ended, Event, Phase, Role, Unsupported, messages
from protocol.wire.errors import FailureCode, LocalProtocolError, ProtocolError, RemoteProtocolError

log = structlog.get_logger(__name__)

SCRATCH = 16 * 1024


class Session(Protocol):
    """Who handles a peer's events."""

    async def run(self) -> None:
        """Until the connection ends."""


class Peer(asyncio.BufferedProtocol):
    """One TLS connection. `events` are taken with `next_event`, and given back with `freed` when they are handled."""

    def __init__(
        self,
        address: str,
        limits: GatewayLimits,
        received: ReceivedBytes,
        turns: ReadingTurns,
        start: Callable[[Peer], Session],
        ended: Callable[[Peer], None],
    ) -> None:
        self.address = address
        self.limits = limits
        self.connection = Connection(Role.GATEWAY)
        self.loop = asyncio.get_running_loop()
        self.opened_at = self.received_at = self.sent_at = self.loop.time()
        self.recognised = False
        self.gone = False
        self.counted_out = False
        self.bytes_received = 0
        self.session: Session | None = None
        self.task: asyncio.Task[None] | None = None
        self._start, self._ended = start, ended
        self._received, self._turns = received, turns
        self._round = self._round_bytes = 0
        self._events: deque[Event | Unsupported] = deque()
        self._arrived = asyncio.Event()
        self._held = 0
        self._pauses: set[str] = set()
        self._writable = asyncio.Event()
        self._writable.set()
        self._linger_until: float | None = None
        self._frame_since = 0.0
        self._frame_bytes = 0
        self._stalled_since = 0.0
        self._stalled_size = 0
        self._ping: int = 0
        self._scratch = memoryview(bytearray(0))
        self.transport: asyncio.Transport

    # --- from the transport ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done: events may come."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not registered as such
        self.transport.set_write_buffer_limits(high=self.limits.write_buffer)
        self.session = self._start(self)
        self.task = self.loop.create_task(self.session.run())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go: into the Connection, or nowhere once it has failed."""
        if self._linger_until is None:
            return self.connection.buffer()
        if not self._scratch:
            self._scratch = memoryview(bytearray(SCRATCH))
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come: make events of them."""
        if self._linger_until is not None:
            return
        self.received_at = self.loop.time()
        self.bytes_received += nbytes
        self._frame_bytes += nbytes
        self.connection.filled(nbytes)
        self._take_events()
        self._share_round(nbytes)

    def eof_received(self) -> bool:
        """The peer sends no more."""
        if self._linger_until is None:
            self.connection.receive_eof()
            self._take_events()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, whoever wanted it."""
        self.gone = True
        self._arrived.set()
        self._writable.set()
        self._ended(self)

    def pause_writing(self) -> None:
        """The write buffer is full: whoever sends waits in `drained`."""
        self._writable.clear()
        self._stalled_since, self._stalled_size = self.loop.time(), self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        """The peer has taken enough."""
        self._writable.set()

    # --- for the session ---------------------------------------------------------------------------------------------

    async def next_event(self) -> Event | Unsupported | None:
        """The next message, or None at the end of the connection. Give its payload back with `freed`."""
        while not self._events:
            if self.gone or self._linger_until is not None:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if len(self._events) <= self.limits.waiting_events // 2:
            self._go_on("events")
        return event

    def freed(self, size: int) -> None:
        """`size` payload bytes of an event are no longer held."""
        self._held -= size
        self._received.give_back(size)
        if self._held <= self.limits.connection_bytes // 2:
            self._go_on("bytes")

    def drop_events(self) -> None:
        """Nobody will handle what waits."""
        while self._events:
            self.freed(event_cost(self._events.popleft()))

    def send(self, message: messages.Message, request: int = 0, payload: Buffer = b"") -> None:
        """Write a message; nothing happens when the connection is ending. Bounded by whoever awaits `drained`."""
        if self.gone or self._linger_until is not None:
            return
        try:
            parts = self.connection.send(message, request, payload)
        except LocalProtocolError:
            log.exception("the gateway broke the protocol", peer=self.address, message=type(message).__name__)
            self.transport.abort()
            return
        self._write(parts)

    async def drained(self) -> None:
        """Return when the peer has taken enough of what was written, or is gone."""
        await self._writable.wait()

    def fail(self, refusal: Refusal) -> None:
        """Tell why, and end the connection."""
        self.refuse(ProtocolError(refusal.code, refusal.sentence), refusal.retry_after)

    def refuse(self, error: ProtocolError, retry_after: float | None = None) -> None:
        """The last frame is a FAILURE; then nothing that comes is looked at, until the peer closes or time is up."""
        if self.gone or self._linger_until is not None:
            return
        self._write(self.connection.refusal(error, retry_after))
        self._linger()

    def say_goodbye(self, reason: str) -> None:
        """End the connection politely."""
        if self.connection.phase not in (Phase.CLOSED, Phase.FAILED):
            self.send(messages.Goodbye(reason=reason))
        self._linger()

    def close_soon(self) -> None:
        """Write what is waiting, then close; a connection that is ending already has its own time for that."""
        if not self.gone and self._linger_until is None:
            self._linger_until = self.loop.time() + self.limits.goodbye_seconds
            self.transport.close()

    # --- times, looked at by the gateway's sweep ---------------------------------------------------------------------

    def check_times(self, now: float) -> None:
        """End or poke the connection if one of its times is up."""
        if self._linger_until is not None:
            if now > self._linger_until:
                self.transport.abort()
            return
        late = self._lateness(now)
        if late:
            log.info("connection timed out", peer=self.address, reason=late)
            self.refuse(ProtocolError(FailureCode.PROTOCOL, late))
        elif self._write_stalled(now):
            log.info("connection timed out", peer=self.address, reason="takes no data")
            self.transport.abort()
        elif now - self.sent_at > self.limits.keep_alive_seconds:
            self._send_ping()

    def _lateness(self, now: float) -> str:
        limits, age = self.limits, now - self.opened_at
        if self.connection.phase is Phase.OPENING and age > limits.hello_seconds:
            return "No HELLO came in time."
        if not self.recognised and age > limits.enroll_seconds:
            return "No certificate was shown in time."
        if self._pauses:
            return ""  # we do not read: the peer cannot be late
        frame_age = now - self._frame_since
        too_slow = self._frame_bytes < frame_age * limits.frame_rate
        if self.connection.mid_frame and frame_age > limits.frame_seconds and too_slow:
            return "A frame came too slowly."
        if now - self.received_at > limits.idle_seconds:
            return "Nothing was heard for too long."
        return ""

    def _write_stalled(self, now: float) -> bool:
        if self._writable.is_set():
            return False
        size = self.transport.get_write_buffer_size()
        if size < self._stalled_size:
            self._stalled_since, self._stalled_size = now, size
        self._stalled_size = max(self._stalled_size, size)
        return now - self._stalled_since > self.limits.write_seconds

    def _send_ping(self) -> None:
        waiting = self.connection.requests_in_flight
        if waiting == 0 and self.connection.phase not in (Phase.OPENING, Phase.GREETING):
            self.send(messages.Ping(), self.connection.new_request())

    # --- inside ------------------------------------------------------------------------------------------------------

    def _take_events(self) -> None:
        try:
            while (event := self.connection.next_event()) is not NEED_DATA:
                self._frame_since, self._frame_bytes = self.received_at, 0
                if isinstance(event, Ended):
                    self.close_soon()
                    break
                assert isinstance(event, Event | Unsupported)
                self._keep(event)
        except RemoteProtocolError as fault:
            log.info("the peer broke the protocol", peer=self.address, code=fault.code.name, fault=fault.what)
            self.refuse(fault)
        if not self.connection.mid_frame:
            self._frame_since, self._frame_bytes = self.received_at, 0
        self._arrived.set()

    def _keep(self, event: Event | Unsupported) -> None:
        size = event_cost(event)
        self._events.append(event)
        self._held += size
        if not self._received.take(size) and "total" not in self._pauses:
            self._pause("total")
            self._received.when_free(lambda: self._go_on("total"))
        if self._held > self.limits.connection_bytes:
            self._pause("bytes")
        if len(self._events) > self.limits.waiting_events and size < SCRATCH:
            self._pause("events")

    def _share_round(self, nbytes: int) -> None:
        """Let others have their turn when this round of the loop has read enough, much of it from here."""
        if self._round != self._turns.number:
            self._round, self._round_bytes = self._turns.number, 0
        self._round_bytes += nbytes
        enough = self._turns.spent(nbytes)
        if enough and self._round_bytes > LITTLE and self._linger_until is None and "turn" not in self._pauses:
            self._pause("turn")
            self._turns.wait(lambda: self._go_on("turn"))

    def _pause(self, reason: str) -> None:
        if not self._pauses and not self.gone:
            self.transport.pause_reading()
        self._pauses.add(reason)

    def _go_on(self, reason: str) -> None:
        if reason not in self._pauses:
            return
        self._pauses.remove(reason)
        if not self._pauses and not self.gone:
            now = self.loop.time()
            self.received_at = self._frame_since = now
            self._frame_bytes = 0
            self.transport.resume_reading()

    def _linger(self) -> None:
        """Stop listening; closing at once would reset the stream and could take our last words with it."""
        if self._linger_until is None:
            self._linger_until = self.loop.time() + self.limits.goodbye_seconds
        self._arrived.set()
        self._writable.set()
        if self._pauses and not self.gone:
            self.transport.resume_reading()
        self._pauses.clear()

    def _write(self, parts: list[Buffer]) -> None:
        self.sent_at = self.loop.time()
        for part in parts:
            self.transport.write(part)


def event_cost(event: Event | Unsupported) -> int:
    """The bytes that a waiting event counts for."""
    return held_bytes(event.payload) if isinstance(event, Event) else held_bytes(b"")
