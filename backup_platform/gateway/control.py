"""One daemon's control connection: what it is asked, what it answers, which jobs it has in hand."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from cryptography import x509

from backup_platform.gateway.caller import Caller
from backup_platform.gateway.control_work import Configuration, parsed
from backup_platform.gateway.errors import Refusal
from backup_platform.jobs.agent_jobs import Offer
from protocol.wire import messages

if TYPE_CHECKING:
    from backup_platform.gateway.session import PeerSession

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 2.0
"""What agents say more often than this would not be written anyway."""
MOST_LINES = 200
"""Log lines of one job that wait to be written; more than an agent says between two writes, so a flood is cut."""
NOT_NOW = 60.0
"""Seconds until a job that an agent refused without saying when is offered again."""

Answered = Callable[[messages.Message], Awaitable[None]]


@dataclass(slots=True)
class HeldJob:
    """A job that this agent has in hand, and what is not yet written about it. `renewed_at` is loop time."""

    lease: str
    renewed_at: float
    state: dict[str, Any] | None = None
    lines: list[dict[str, str]] = field(default_factory=list)
    cancelled: bool = False
    accepted: bool = True  # False while the database could not be told


class ControlLine:
    """The desk's view of a connection; all methods belong to the event loop."""

    def __init__(self, session: PeerSession, caller: Caller, since: float) -> None:
        self.session = session
        self.caller = caller
        self.machine_id = caller.machine_id
        self.since = since
        self.jobs: dict[UUID, HeldJob] = {}
        self.offered: UUID | None = None
        self.configuration: Configuration | None = None
        self._asked: dict[int, Answered] = {}

    @property
    def open(self) -> bool:
        """Whether something may still be asked here."""
        return not (self.session.ending or self.session.peer.gone)

    def ask(self, message: messages.Message, answered: Answered) -> None:
        """Send a request of ours; `answered` gets the answer, a Failure included, unless the connection ends first."""
        request = self.session.peer.connection.new_request()
        self._asked[request] = answered
        self.session.peer.send(message, request)

    async def answer(self, message: messages.Message, request: int) -> None:
        """An answer to one of our requests came."""
        answered = self._asked.pop(request, None)
        if answered is not None:
            await answered(message)

    def offer(self, offer: Offer, answered: Answered) -> None:
        """Offer a job; until it is answered, no other is offered."""
        self.offered = offer.job_id
        message = messages.Offer(
            job=offer.job_id.bytes,
            lease=offer.lease,
            kind=offer.kind,
            spec=json.dumps(offer.spec, ensure_ascii=False, separators=(",", ":")),
        )
        self.ask(message, answered)

    def cancel(self, job_id: UUID) -> None:
        """Ask once that a job be stopped."""
        held = self.jobs.get(job_id)
        if held is not None and held.cancelled:
            return
        if held is not None:
            held.cancelled = True
        self.ask(messages.Cancel(job=job_id.bytes), _nothing)

    def configure(self, configuration: Configuration) -> None:
        """Tell the machine its policies, if they are others than it was told before."""
        before, self.configuration = self.configuration, configuration
        if before is None or before.digest != configuration.digest:
            self.ask(messages.Configure(configuration=configuration.text), self._configured)

    async def _configured(self, message: messages.Message) -> None:
        fault = getattr(message, "fault", "") or getattr(message, "message", "")
        if fault:
            log.warning("an agent keeps its former configuration", reason=fault, **self.session.labels())

    def note(self, message: messages.Progress) -> None:
        """Keep what an agent says of a job until the desk writes it. Words under another lease are not heard."""
        held = self.jobs.get(UUID(bytes=message.job))
        if held is None or held.lease != message.lease:
            return
        held.state = parsed(message.state) or held.state or {}
        room = MOST_LINES - len(held.lines)
        held.lines += [{"level": line.level, "text": line.text} for line in message.lines[:room]]

    def end(self, refusal: Refusal) -> None:
        """End the connection, telling why."""
        self.session.end(refusal)


def days_left(connection: ssl.SSLObject) -> int:
    """Whole days until the certificate ends that this connection was opened with, which may not be the newest."""
    der = connection.getpeercert(binary_form=True) or b""
    left = x509.load_der_x509_certificate(der).not_valid_after_utc - datetime.now(UTC)
    return max(0, left.days)


async def _nothing(message: messages.Message) -> None:
    """An answer from which nothing follows."""
