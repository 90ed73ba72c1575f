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

from backup_platform.fleet.presence import Arrival
from backup_platform.gateway.caller import Caller
from backup_platform.gateway.control_work import Configuration, Told, parsed
from backup_platform.gateway.errors import Refusal
from backup_platform.jobs.agent_jobs import OFFER_LEASE, Offer
from protocol.wire import messages
from protocol.wire.errors import FailureCode

if TYPE_CHECKING:
    from backup_platform.gateway.session import PeerSession

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 2.0
"""What agents say more often than this would not be written anyway."""
MOST_LINES = 200
"""Log lines of one job that wait to be written; more than an agent says between two writes, so a flood is cut."""
NOT_NOW, LATER = 60.0, 3600.0
"""Seconds until a job is offered again that an agent refused without saying when, or that could not even be offered."""
RENEWAL_SECONDS = 60.0
"""A connection renews its certificate at most this often: each renewal is a line of the audit."""

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

    def __init__(self, session: PeerSession, caller: Caller, arrival: Arrival) -> None:
        self.session = session
        self.caller = caller
        self.machine_id = caller.machine_id
        self.arrival = arrival  # its age is loop time
        self.jobs: dict[UUID, HeldJob] = {}
        self.offered_at: float | None = None
        self.configured = Told(b"", "")
        self._renewed_at = float("-inf")
        self._asked: dict[int, Answered] = {}

    @property
    def open(self) -> bool:
        """Whether something may still be asked here."""
        return not (self.session.ending or self.session.peer.gone)

    @property
    def since(self) -> float:
        """Loop time of its beginning."""
        return self.arrival.age

    def is_free(self, now: float) -> bool:
        """Whether a job may be offered: no other offer waits for its answer, or none that still counts."""
        return self.offered_at is None or now - self.offered_at > OFFER_LEASE.total_seconds()

    def check_renewal(self, now: float) -> None:
        """Refuse the second renewal within a minute."""
        if now - self._renewed_at < RENEWAL_SECONDS:
            sentence = "This connection has just renewed its certificate."
            raise Refusal(FailureCode.RATE, sentence, retry_after=RENEWAL_SECONDS)
        self._renewed_at = now

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

    def offer(self, offer: Offer, now: float, answered: Answered) -> None:
        """Offer a job; until it is answered, no other is offered. Raises InvalidMessage if it is too long to say."""
        message = messages.Offer(
            job=offer.job_id.bytes,
            lease=offer.lease,
            kind=offer.kind,
            spec=json.dumps(offer.spec, ensure_ascii=False, separators=(",", ":")),
        )
        self.ask(message, answered)
        self.offered_at = now

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
        before, self.configured = self.configured, configuration.told
        if before.digest != self.configured.digest:
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
