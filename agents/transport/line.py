"""A line to the gateway that mends itself: requests survive a broken connection.

One keeper thread connects, greets and, whenever a connection breaks for a reason that may pass, connects again within
the patience that it was given. Then it sends again whatever was not answered. A reason that cannot pass (revoked,
fenced, another vault) ends the line and every request on it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents.errors import AgentError, Disconnected, Refused, Temporary
from agents.transport.io_loop import Channel, OnEvent, settle
from agents.transport.retrying import Patience
from protocol.wire.errors import ProtocolError

if TYPE_CHECKING:
    from agents.transport.greeting import Greeted
    from protocol.wire import Buffer, Event
    from protocol.wire.messages import Message

IN_FLIGHT = 256
"""Requests of one line that wait for answers; further ones block. A quarter of what the protocol allows."""

Tell = Callable[[str], None]
OnNotice = Callable[[Channel, "Event"], None]
Dial = Callable[[OnNotice, Callable[[Channel, AgentError], None]], "Greeted"]


@dataclass
class Pending:
    """A request that is not answered yet. `build` makes its message anew for each connection."""

    build: Callable[[], Message]
    payload: Buffer
    on_part: OnEvent | None
    future: Future[Event] = field(default_factory=Future)
    sent_on: Channel | None = None


class Line:
    """Requests that outlive connections. Every public method may be called from any thread.

    `dial` makes a greeted connection. `prepare` is called by the keeper with each new one, before requests are sent on
    it again (a backup begins its session there); what it raises counts like a failed connection.
    """

    def __init__(
        self,
        dial: Dial,
        patience: Patience,
        prepare: Callable[[Greeted], None] = lambda greeted: None,
        on_notice: OnNotice = lambda channel, event: None,
        on_down: Callable[[Channel], None] = lambda channel: None,
        tell: Tell = lambda sentence: None,
    ) -> None:
        self._dial = dial
        self._patience = patience
        self._prepare = prepare
        self._on_notice = on_notice
        self._on_down = on_down
        self._tell = tell
        self._changed = threading.Condition()
        self._pending: list[Pending] = []
        self._later: list[Pending] = []
        self._greeted: Greeted | None = None
        self._fault: AgentError | None = None
        self._put_off: Temporary | None = None
        self._done = False
        self.retries = 0
        self._keeper: threading.Thread | None = None

    # --- for any thread --------------------------------------------------------------------------

    def open(self) -> Greeted:
        """Connect (at the first call) and return the greeted connection; raises AgentError when it cannot be had."""
        with self._changed:
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="strongroom-line", daemon=True)
                self._keeper.start()
            self._changed.wait_for(lambda: self._greeted is not None or self._fault is not None)
            if self._fault is not None:
                raise self._fault
            assert self._greeted is not None
            return self._greeted

    def request(
        self, build: Callable[[], Message], payload: Buffer = b"", on_part: OnEvent | None = None
    ) -> Future[Event]:
        """Ask; the future gets the answer, over however many connections, or the AgentError that ended it."""
        pending = Pending(build, payload, on_part)
        with self._changed:
            self._changed.wait_for(lambda: len(self._pending) < IN_FLIGHT or self._fault is not None)
            if self._fault is not None:
                raise self._fault
            self._pending.append(pending)
            self._send(pending)
        return pending.future

    def fail(self, fault: AgentError) -> None:
        """End the line and everything on it with this error. Never blocks, never raises."""
        with self._changed:
            if self._fault is None:
                self._fault = fault
            pending, self._pending = self._pending, []
            greeted = self._greeted
            self._changed.notify_all()
        if greeted is not None:
            greeted.channel.break_off(fault)
        for one in pending:
            settle(one.future, fault)

    def close(self) -> None:
        """Say goodbye; requests that are still pending fail."""
        with self._changed:
            self._done = True
            greeted = self._greeted
            self._changed.notify_all()
        if greeted is not None:
            greeted.channel.close()
        self.fail(Refused("The connection was closed."))

    def progress(self) -> None:
        """The gateway did something useful: patience starts anew at the next failure."""
        self._patience.reset()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that holds under the line's lock; raises the line's error when it ends first."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault is not None or condition())
            if self._fault is not None:
                raise self._fault

    @property
    def lock(self) -> threading.Condition:
        """The line's lock: hold it to change what `until` conditions look at, then notify."""
        return self._changed

    @property
    def fault(self) -> AgentError | None:
        """Why the line ended, None while it lives."""
        return self._fault

    # --- sending and hearing ---------------------------------------------------------------------

    def _send(self, pending: Pending) -> None:
        """Send on the present connection, if there is one; otherwise the keeper will."""
        if self._greeted is None:
            return
        channel = self._greeted.channel
        pending.sent_on = channel
        try:
            future = channel.request(pending.build(), pending.payload, pending.on_part)
        except AgentError:
            return  # it broke a moment ago; the keeper knows
        except ProtocolError as fault:
            self._settle(pending, Refused(f"This agent would break the protocol: {fault.what}", "Report this."))
            return
        future.add_done_callback(lambda done: self._heard(pending, channel, done))

    def _heard(self, pending: Pending, channel: Channel, done: Future[Event]) -> None:
        fault = done.exception()
        if fault is None:
            self._patience.reset()
            self._settle(pending, done.result())
        elif isinstance(fault, Temporary) and not fault.final:
            self._try_later(pending, channel, fault)
        else:
            self._settle(pending, fault)

    def _try_later(self, pending: Pending, channel: Channel, fault: Temporary) -> None:
        """A broken connection is the keeper's business; a request that alone was put off is sent again by it too."""
        with self._changed:
            if self._greeted is not None and self._greeted.channel is channel and channel.fault is None:
                self._later.append(pending)
                self._put_off = fault
                self._changed.notify_all()

    def _settle(self, pending: Pending, outcome: Any) -> None:
        with self._changed:
            if pending in self._pending:
                self._pending.remove(pending)
            self._changed.notify_all()
        settle(pending.future, outcome)

    # --- the keeper ------------------------------------------------------------------------------

    def _keep(self) -> None:
        try:
            while self._connect() and self._watch():
                pass
        except AgentError as fault:
            self.fail(fault)
        except Exception as fault:  # noqa: BLE001 - the last line of a thread: waiters must hear of any end
            self.fail(Refused(f"The line's thread failed ({type(fault).__name__}).", "Report this."))

    def _connect(self) -> bool:
        """Dial until a connection is greeted and prepared. Returns False when the line has ended."""
        while not self._ended():
            try:
                self._adopt(self._dial_and_prepare())
            except Temporary as fault:
                if fault.final:
                    raise
                self._rest(fault)
            else:
                return True
        return False

    def _dial_and_prepare(self) -> Greeted:
        greeted = self._dial(self._notice, self._down)
        try:
            self._prepare(greeted)
        except BaseException:
            greeted.channel.break_off(Disconnected("The connection could not be prepared."))
            raise
        return greeted

    def _adopt(self, greeted: Greeted) -> None:
        with self._changed:
            self._greeted = greeted
            self._later.clear()
            for pending in self._pending:
                self._send(pending)
            self._changed.notify_all()

    def _watch(self) -> bool:
        """Sleep until the connection breaks or something was put off. Returns whether to connect again."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended() or self._break() is not None or bool(self._later))
                if self._ended():
                    return False
                fault = self._break()
                if fault is not None:
                    self._greeted = None
            if fault is not None:
                self._mend_after(fault)
                return True
            self._rest(self._put_off or Temporary("The gateway cannot answer at the moment."))
            self._send_later()

    def _mend_after(self, fault: AgentError) -> None:
        if not isinstance(fault, Temporary) or fault.final:
            raise fault
        self._rest(fault)

    def _send_later(self) -> None:
        with self._changed:
            later, self._later = self._later, []
            for pending in later:
                self._send(pending)

    def _rest(self, fault: AgentError) -> None:
        """Wait as patience says, or raise the fault when it is at its end."""
        seconds = self._patience.wait(getattr(fault, "retry_after", None))
        if seconds is None:
            raise fault
        self.retries += 1
        if seconds:
            self._tell(f"{fault.what} Trying again in {seconds:.0f} s.")
        with self._changed:
            self._changed.wait_for(self._ended, seconds)

    def _ended(self) -> bool:
        return self._done or self._fault is not None

    def _break(self) -> AgentError | None:
        return self._greeted.channel.fault if self._greeted is not None else None

    def _notice(self, channel: Channel, event: Event) -> None:
        self._on_notice(channel, event)

    def _down(self, channel: Channel, fault: AgentError) -> None:
        self._on_down(channel)
        with self._changed:
            self._changed.notify_all()
