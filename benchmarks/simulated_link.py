"""One TLS connection of a simulated agent: protocol.wire.Connection on asyncio, as small as it can be."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocol.wire import NEED_DATA, Connection, Ended, Event, Role, limits, messages
from protocol.wire.errors import ProtocolError
from protocol.wire.features import CONTROL

ANSWER_SECONDS = 120.0
ATTEMPTS = 12


class LinkLost(Exception):
    """The gateway ended the connection, refused a request, or broke the protocol."""


class SimulatedLink(asyncio.Protocol):
    """Requests get their answers by `ask`; what the gateway asks goes to `asked`; PINGs are answered here."""

    def __init__(self, asked: Callable[[Event], None] = lambda event: None) -> None:
        self.connection = Connection(Role.AGENT)
        self.loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[str] = self.loop.create_future()
        self.sent_at = self.loop.time()
        self._asked = asked
        self._waiting: dict[int, asyncio.Future[messages.Message]] = {}
        self._writable = asyncio.Event()
        self._writable.set()
        self._stored = asyncio.Event()
        self.transport: Any = None

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext, **options: Any) -> SimulatedLink:
        """Connect and say HELLO; `welcome` has the answer."""
        loop = asyncio.get_running_loop()
        for attempt in range(ATTEMPTS):
            try:
                _, link = await loop.create_connection(
                    lambda: cls(**options), host, port, ssl=context, server_hostname="gateway.strongroom.internal",
                    ssl_handshake_timeout=ANSWER_SECONDS,
                )  # fmt: skip
                break
            except ConnectionResetError:  # too many of this address are just coming: agents try again, and so do we
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(random.uniform(0.1, 0.3) * (attempt + 1))
        hello = messages.Hello(versions=[1], agent_version="simulated", features=[CONTROL])
        link.welcome = await link.ask(hello)
        return link

    welcome: Any = None

    # --- asyncio's -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Make events of bytes."""
        try:
            self.connection.receive_data(data)
            while (event := self.connection.next_event()) is not NEED_DATA:
                self._take(event)
        except ProtocolError as fault:
            self._lose(str(fault))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._lose(repr(exc) if exc else "the stream ended")

    def pause_writing(self) -> None:
        """The gateway takes no more for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It does again."""
        self._writable.set()

    # --- the agent's -----------------------------------------------------------------------------------------------

    def send(self, message: messages.Message, request: int = 0, payload: Any = b"") -> None:
        """Write a message."""
        self.sent_at = self.loop.time()
        for part in self.connection.send(message, request, payload):
            self.transport.write(part)

    async def ask(self, message: messages.Message, payload: bytes = b"") -> Any:
        """A request's final answer. Raises LinkLost."""
        self._check()
        request = self.connection.new_request()
        answer = self._waiting[request] = self.loop.create_future()
        self.send(message, request, payload)
        found = await asyncio.wait_for(answer, ANSWER_SECONDS)
        if isinstance(found, messages.Failure):
            raise LinkLost(f"{type(message).__name__}: {found.code} {found.message}")
        return found

    async def ping(self) -> float:
        """Seconds until the gateway answered."""
        begun = time.perf_counter()
        await self.ask(messages.Ping())
        return time.perf_counter() - begun

    async def put(self, message: messages.Put, payload: bytes) -> None:
        """Send a record once the window and the socket have room."""
        while not self.connection.can_put(len(payload)):
            self._stored.clear()
            await asyncio.wait_for(self._stored.wait(), ANSWER_SECONDS)
        await self._writable.wait()
        self._check()
        self.send(message, 0, payload)

    def keep_alive(self, now: float) -> None:
        """PING when nothing was sent for long, as every agent does."""
        if not self.lost.done() and now - self.sent_at > limits.KEEP_ALIVE:
            request = self.connection.new_request()
            self._waiting[request] = self.loop.create_future()
            self.send(messages.Ping(), request)

    def close(self) -> None:
        """End politely."""
        if not self.lost.done():
            self.send(messages.Goodbye())
            self.transport.close()

    def _check(self) -> None:
        if self.lost.done():
            raise LinkLost(self.lost.result())

    def _take(self, event: Any) -> None:
        if isinstance(event, Ended):
            self._lose("the stream ended")
            return
        match event.message:
            case messages.Ping(time=when):
                self.send(messages.Pong(time=when), event.request)
            case messages.Stored():
                self._stored.set()
            case messages.Offer() | messages.Cancel() | messages.Configure():
                self._asked(event)
            case messages.Failure() | messages.Goodbye() if event.request == 0:
                self._lose(f"the gateway ended it: {event.message}")
            case message:
                waiting = self._waiting.pop(event.request, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LinkLost(reason))
                waiting.exception()  # nobody may be waiting any more
        self._waiting.clear()
        self._stored.set()
        self._writable.set()


def client_context(certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """TLS 1.3; the gateway is not checked: the simulators measure it and keep no secrets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate and key:
        context.load_cert_chain(certificate, key)
    return context
