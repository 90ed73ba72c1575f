"""A small daemon for tests: an AgentPeer whose connection is a control connection."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Any
from uuid import UUID

from protocol.wire import Event, messages
from protocol.wire.features import CONTROL
from tests.gateway.agent_peer import AgentPeer, Closed, wait_until
from tests.gateway.fixtures import RunningGateway
from tests.gateway.stage import Identity

WAIT = 20.0
"""Generous: the machine may be busy with everything else."""
GATEWAY_ASKS = (messages.Offer, messages.Cancel, messages.Configure)


class DaemonPeer(AgentPeer):
    """Says HELLO with the feature and, unless `control=False`, CONTROL."""

    def __init__(self, gateway: RunningGateway, identity: Identity, *, control: bool = True, **said: Any) -> None:
        self.asked: deque[Event] = deque()
        super().__init__(gateway, identity, greet=False)
        hello = messages.Hello(versions=[1], agent_version="test daemon", features=[CONTROL])
        self.welcome = self.ask(hello).message
        self.controlled: messages.Controlled | None = self.control(**said) if control else None

    def control(self, **said: Any) -> messages.Controlled:
        facts = {"facts": {"os": "Linux"}, "time": time.time_ns() // 1000}
        return self.ask(messages.Control(**facts | said)).message

    def _take(self, event: Any) -> None:
        if isinstance(getattr(event, "message", None), GATEWAY_ASKS):
            self.asked.append(event)
        else:
            super()._take(event)

    def wait_for(self, kind: type[messages.Message], seconds: float = WAIT) -> Event:
        """The gateway's next request of this kind; others are put aside."""
        until = time.monotonic() + seconds
        while True:
            for event in self.asked:
                if isinstance(event.message, kind):
                    self.asked.remove(event)
                    return event
            assert time.monotonic() < until, f"no {kind.__name__} came in time"
            self.listen(0.2)

    def listen(self, seconds: float) -> None:
        """Take what comes within this time; the answers of pings go out with it."""
        self.socket.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            pass
        except Closed as fault:
            if "timed out" not in str(fault):
                raise
        finally:
            self.socket.settimeout(10.0)

    def accept_offer(self, seconds: float = WAIT) -> tuple[UUID, str, dict[str, Any]]:
        """Wait for an offer and take it: the job's id, its lease, what is to be done."""
        event = self.wait_for(messages.Offer, seconds)
        self.send(messages.Accepted(accepted=True), event.request)
        return UUID(bytes=event.message.job), event.message.lease, json.loads(event.message.spec)

    def progress(self, job: UUID, lease: str, lines: tuple[str, ...] = (), **state: Any) -> None:
        said = [messages.LogLine(level="info", text=line) for line in lines]
        self.send(messages.Progress(job=job.bytes, lease=lease, state=json.dumps(state), lines=said))

    def report(self, job: UUID, lease: str, outcome: str = "done", **said: Any) -> messages.Message:
        return self.ask(messages.Report(job=job.bytes, lease=lease, outcome=outcome, **said)).message


__all__ = ["DaemonPeer", "wait_until"]
