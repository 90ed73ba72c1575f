"""The control connection: light, long-lived, and the only one on which the gateway asks and the agent answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from agents.errors import AgentError, Disconnected, Refused
from agents.transport.greeting import answer, greet
from agents.transport.io_loop import Channel
from agents.transport.ladders import AnswerTimes
from protocol.wire import messages
from protocol.wire.errors import ProtocolError
from protocol.wire.features import CONTROL

if TYPE_CHECKING:
    from concurrent.futures import Future

    from agents.state import AgentHome
    from protocol.wire import Event

Expected = TypeVar("Expected", bound=messages.Message)
Asked = Callable[["ControlLink", messages.Message, int], None]
Ended = Callable[["ControlLink", AgentError], None]


class ControlLink:
    """One control connection. It is born connected; `on_asked` and `on_ended` are called by its own thread.

    `on_asked` gets OFFER, CANCEL and CONFIGURE with the id to answer under (`respond`).
    """

    def __init__(self, home: AgentHome, times: AnswerTimes, on_asked: Asked, on_ended: Ended) -> None:
        self._times = times
        self._channel: Channel
        greeted = greet(
            home,
            on_broken=lambda channel, fault: on_ended(self, fault),
            on_request=lambda channel, event: on_asked(self, event.message, event.request),
            features=[CONTROL],
        )
        self._channel = greeted.channel
        self.welcome = greeted.welcome

    @property
    def alive(self) -> bool:
        """Whether the connection has not ended."""
        return self._channel.fault is None

    def control(self, message: messages.Control) -> messages.Controlled:
        """Say who is here; raises AgentError."""
        if CONTROL not in self.welcome.features:
            raise Refused("The gateway is too old for daemons.", "Update the platform.")
        return self._ask(message, messages.Controlled)

    def report(self, message: messages.Report) -> None:
        """Say how a job ended, and return when it is in the database. Raises AgentError."""
        self._ask(message, messages.Reported)

    def renew(self, request: bytes) -> messages.Renewed:
        """Ask for a new certificate over the same key. Raises AgentError."""
        return self._ask(messages.Renew(csr=request), messages.Renewed)

    def progress(self, job: bytes, lease: str, state: str, lines: Sequence[messages.LogLine]) -> None:
        """Say how a job is getting on. Nothing is answered, and a connection that broke is not an error here."""
        with contextlib.suppress(AgentError):
            self._channel.notify(messages.Progress(job=job, lease=lease, state=state, lines=list(lines)))

    def respond(self, message: messages.Message, request: int) -> None:
        """Answer what the gateway asked."""
        self._channel.respond(message, request)

    def close(self, fault: AgentError | None = None) -> None:
        """End the connection: with a goodbye, or because of a fault."""
        if fault is None:
            self._channel.close()
        else:
            self._channel.break_off(fault)

    def _ask(self, message: messages.Message, kind: type[Expected]) -> Expected:
        began = time.monotonic()
        try:
            future: Future[Event] = self._channel.request(message)
        except ProtocolError as fault:
            raise Refused(f"This agent would break the protocol: {fault.what}", "Report this.") from fault
        try:
            said = answer(future, kind, self._times.timeout)
        except Disconnected:
            if self.alive:
                self._times.missed()
            raise
        self._times.observe(time.monotonic() - began)
        return said
