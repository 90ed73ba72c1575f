"""The engine's way to the server for a backup: window, acknowledgements, and a session that survives reconnects.

Sealed bytes are kept until the gateway acknowledged them as durable. When a connection breaks, the next one begins the
session again (the gateway takes it up where it was), gets everything unacknowledged once more, and then whatever was
asked and not answered.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from agents.engine.link import Begun, CommitAnswer, Statistics
from agents.errors import AgentError, Busy, Refused
from agents.transport.greeting import answer, greet
from agents.transport.io_loop import Channel, settle
from agents.transport.line import Line
from agents.transport.retrying import DEFAULT_RETRY_FOR, JOB_STEPS, STEPS, Patience
from protocol.wire import limits, messages

if TYPE_CHECKING:
    from agents.state import AgentHome
    from agents.transport.greeting import Greeted
    from agents.transport.line import Tell
    from agents.transport.throttle import Throttle
    from protocol.wire import Event

BEGIN = 30.0
"""Seconds for the gateway to answer BEGIN: a few transactions."""


@dataclass(frozen=True)
class _Put:
    message: messages.Put
    sealed: bytes


class GatewayLink:
    """`agents.engine.link.BackupLink` over the transport. Errors are `agents.errors`, each with its exit code.

    `throttle` holds back what is sent; `job` (16 bytes) and `policy` say on whose behalf the backup is made.
    """

    def __init__(
        self,
        home: AgentHome,
        retry_for: float = DEFAULT_RETRY_FOR,
        tell: Tell = lambda sentence: None,
        *,
        throttle: Throttle | None = None,
        job: bytes = b"",
        policy: str = "",
    ) -> None:
        self.on_drain: Callable[[], None] = lambda: None
        self._job = job
        self._policy = policy
        self._line = Line(
            dial=functools.partial(greet, home, throttle=throttle),
            patience=Patience(retry_for, steps=JOB_STEPS if job else STEPS),
            prepare=self._begin_on,
            on_notice=self._noticed,
            on_down=self._down,
            tell=tell,
        )
        self._begin: messages.Begin | None = None
        self._begun: Begun | None = None
        self._window = limits.WINDOW
        self._channel: Channel | None = None
        self._beginning = threading.Lock()
        self._sent: deque[_Put] = deque()
        self._unsent: deque[_Put] = deque()
        self._sent_bytes = 0
        self._held = 0
        self._through = 0

    def connect(self) -> Greeted:
        """Connect and return what the gateway said, its vault record verified. Call it before `begin`."""
        return self._line.open()

    @property
    def retries(self) -> int:
        """How often a broken or refused connection was tried again."""
        return self._line.retries

    @property
    def generation(self) -> int:
        """The catalogue generation of the newest BEGUN."""
        return self._begun.generation if self._begun is not None else 0

    # --- BackupLink ------------------------------------------------------------------------------

    def begin(self, generation: int, head: bytes, head_sequence: int) -> Begun:
        """Begin (or take up again) this machine's session."""
        with self._line.lock:
            self._begin = messages.Begin(
                generation=generation, head=head, head_sequence=head_sequence, job=self._job, policy=self._policy
            )
        greeted = self._line.open()
        try:
            self._begin_on(greeted)
        except AgentError as fault:
            if self._begun is None:
                self._line.fail(fault)
                raise
            # The connection broke at this very moment; the keeper begins on the next one.
        self._line.until(lambda: self._begun is not None)
        assert self._begun is not None
        return self._begun

    def ask(self, ids: Sequence[bytes]) -> Future[set[bytes]]:
        """Ask which of at most 4,096 ids the server lacks."""
        asked = list(ids)
        outcome: Future[set[bytes]] = Future()
        if not asked:
            outcome.set_result(set())
            return outcome
        question = messages.Question(ids=b"".join(asked))
        self._line.request(lambda: question).add_done_callback(lambda done: _told_missing(asked, done, outcome))
        return outcome

    def put(self, kind: int, identity: bytes, digest: bytes, sealed: bytes) -> None:
        """Send one record; blocks while the window is full."""
        put = _Put(messages.Put(kind=kind, id=identity, digest=digest), sealed)
        with self._line.lock:
            self._line.until(lambda: self._has_room(len(sealed)))
            self._unsent.append(put)
            self._held += len(sealed)
            self._pump()

    def drain(self) -> None:
        """Return when everything that was put is acknowledged as durable."""
        self.on_drain()
        if self._count():
            self._line.request(messages.Flush).result()
            self._line.until(lambda: not self._count())

    def commit(
        self,
        statement: bytes,
        root: bytes,
        recipients: Sequence[bytes],
        blocks: Sequence[bytes],
        statistics: Statistics,
    ) -> CommitAnswer:
        """Publish the snapshot; after a lost answer it is asked again and gets the same one."""

        def build() -> messages.Message:
            assert self._begun is not None
            return messages.Commit(
                session=self._begun.session,
                fence=self._begun.fence,
                statement=statement,
                blocks=b"".join(blocks),
                recipients=list(recipients),
                statistics=messages.Statistics(**asdict(statistics)),
            )

        said = self._line.request(build, root).result().message
        if isinstance(said, messages.Committed):
            return CommitAnswer(said.snapshot, said.state, said.received_at)
        if isinstance(said, messages.Missing):
            return CommitAnswer(missing=frozenset(split_ids(said.ids)))
        raise Refused(f"The gateway answered a commit with {type(said).__name__}.", "Report this.")

    def interrupt(self) -> None:
        """Make every blocked and every later call raise at once."""
        self._line.fail(Refused("The backup was interrupted."))

    # --- beyond the engine -----------------------------------------------------------------------

    def status(self, snapshots: Sequence[bytes]) -> messages.StatusIs:
        """How the work behind these snapshots is getting on."""
        wanted = messages.Status(snapshots=b"".join(snapshots))
        said = self._line.request(lambda: wanted).result().message
        if not isinstance(said, messages.StatusIs):
            raise Refused(f"The gateway answered STATUS with {type(said).__name__}.", "Report this.")
        return said

    def close(self) -> None:
        """Say goodbye and give the socket back."""
        self._line.close()

    # --- connections -----------------------------------------------------------------------------

    def _begin_on(self, greeted: Greeted) -> None:
        """Begin the session on a new connection and send again what the last one did not acknowledge."""
        with self._beginning:
            if self._begin is None or self._channel is greeted.channel:
                return
            try:
                begun = answer(greeted.channel.request(self._begin), messages.Begun, BEGIN)
            except Busy as fault:
                # The first begin says so at once; later it is our own broken connection, which the gateway still holds.
                fault.final = self._begun is None
                raise
            with self._line.lock:
                self._start_over(greeted.channel, begun)

    def _start_over(self, channel: Channel, begun: messages.Begun) -> None:
        self._begun = _begun(begun)
        self._window = begun.window
        self._channel = channel
        self._unsent.extendleft(reversed(self._sent))
        self._sent.clear()
        self._sent_bytes = self._through = 0
        self._pump()
        self._line.lock.notify_all()

    def _pump(self) -> None:
        """Send what fits into the window of the present connection. Called with the lock held."""
        while self._channel is not None and self._unsent:
            put = self._unsent[0]
            if self._sent and self._sent_bytes + len(put.sealed) > self._window:
                return
            try:
                self._channel.notify(put.message, put.sealed)
            except AgentError:
                self._channel = None  # it broke; the next connection gets it
                return
            self._sent.append(self._unsent.popleft())
            self._sent_bytes += len(put.sealed)

    def _count(self) -> int:
        return len(self._sent) + len(self._unsent)

    def _has_room(self, size: int) -> bool:
        count = self._count()
        return not count or (self._held + size <= self._window and count < limits.MAX_PUTS_IN_FLIGHT)

    def _noticed(self, channel: Channel, event: Event) -> None:
        if isinstance(event.message, messages.Stored):
            self._line.progress()
            with self._line.lock:
                if channel is self._channel:
                    self._forget(event.message.through)
                    self._pump()
                    self._line.lock.notify_all()

    def _forget(self, through: int) -> None:
        while self._through < through and self._sent:
            size = len(self._sent.popleft().sealed)
            self._held -= size
            self._sent_bytes -= size
            self._through += 1

    def _down(self, channel: Channel) -> None:
        with self._line.lock:
            if channel is self._channel:
                self._channel = None


def _begun(message: messages.Begun) -> Begun:
    return Begun(
        session=message.session,
        fence=message.fence,
        generation=message.generation,
        wanted=frozenset(split_ids(message.wanted)),
        head=message.head,
        head_sequence=message.head_sequence,
        base=message.base,
    )


def split_ids(joined: bytes) -> list[bytes]:
    """Cut a field of joined 32-byte ids."""
    return [joined[i : i + limits.LONG_ID] for i in range(0, len(joined), limits.LONG_ID)]


def _told_missing(asked: list[bytes], done: Future[Event], outcome: Future[set[bytes]]) -> None:
    """Turn ANSWER's bitmap into ids."""
    fault = done.exception()
    if fault is not None:
        settle(outcome, fault)
        return
    said = done.result().message
    if not isinstance(said, messages.Answer):
        settle(outcome, Refused(f"The gateway answered a question with {type(said).__name__}.", "Report this."))
        return
    bits = said.missing
    settle(outcome, {identity for i, identity in enumerate(asked) if bits[i // 8] >> (i % 8) & 1})
