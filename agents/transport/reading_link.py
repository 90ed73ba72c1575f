"""The way to the server for everything that reads: lists, roots, chunks, states. It reconnects by itself."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3

from agents.engine.sealing import OpeningFault
from agents.errors import Cold, Refused
from agents.transport.greeting import answer, greet
from agents.transport.io_loop import settle
from agents.transport.line import Line
from agents.transport.retrying import DEFAULT_RETRY_FOR, Patience
from protocol.wire import limits, messages
from protocol.wire.features import DRILLS, LIFECYCLE, THAWING

if TYPE_CHECKING:
    from agents.keys.rsa import PrivateKey
    from agents.state import AgentHome
    from agents.transport.greeting import Greeted
    from agents.transport.line import Tell
    from agents.transport.thawing import Thawing
    from protocol.wire import Buffer, Event

PROVE = 15.0
"""Seconds for the gateway to check a proof."""
Expected = TypeVar("Expected", bound=messages.Message)


class ReadingLink:
    """Questions that change nothing. `scope` is another machine's name, opened by the kit's signing key `proof_key`."""

    def __init__(
        self,
        home: AgentHome,
        retry_for: float = DEFAULT_RETRY_FOR,
        tell: Tell = lambda sentence: None,
        scope: str = "",
        proof_key: PrivateKey | None = None,
    ) -> None:
        self._machine_id = home.machine().machine_id
        self._scope = scope
        self._proof_key = proof_key
        self._thawing: Thawing | None = None
        dial = functools.partial(greet, home, features=[LIFECYCLE, DRILLS, THAWING])
        self._line = Line(dial, Patience(retry_for), self._prove, tell=tell)

    def connect(self) -> Greeted:
        """Connect and return what the gateway said, its vault record verified."""
        return self._line.open()

    def snapshots(self) -> Iterator[messages.Snapshots]:
        """Yield the pages of the machine's snapshots, the newest first."""
        before = 0
        while True:
            page = self._ask(messages.List(machine_name=self._scope, before=before), messages.Snapshots)
            yield page
            if not page.more or not page.items:
                return
            oldest = page.items[-1].received_at
            if before and oldest >= before:
                raise Refused("The gateway lists the same snapshots again and again.", "Report this.")
            before = oldest

    def root(self, snapshot: bytes) -> tuple[messages.RootIs, bytes]:
        """Return a snapshot's root with what belongs to it, and the root file."""
        try:
            event = self._line.request(lambda: messages.Root(snapshot=snapshot, machine_name=self._scope)).result()
        except Cold as fault:
            raise Cold(fault.what, "Ask the operator of the platform for it: `manage.py thaw SNAPSHOT`.") from None
        if not isinstance(event.message, messages.RootIs):
            raise Refused(f"The gateway answered ROOT with {type(event.message).__name__}.", "Report this.")
        return event.message, bytes(event.payload)

    def explain(self, first: int, last: int) -> Iterator[messages.Explained] | None:
        """Yield pages of what the server says of numbers that it does not list; None when it is too old to be asked."""
        return self._pages(first, last) if self._knows(LIFECYCLE) else None

    def _pages(self, first: int, last: int) -> Iterator[messages.Explained]:
        while first <= last:
            page = self._ask(messages.Explain(machine_name=self._scope, first=first, last=last), messages.Explained)
            yield page
            if page.rest >= last:
                raise Refused("The gateway explains the same snapshots again and again.", "Report this.")
            last = page.rest

    def drilled(self, message: messages.Drilled) -> bool | None:
        """Say how a drill by hand ended; whether it proves the snapshot, None when the server is too old to be told."""
        return self._ask(message, messages.Noted).proven if self._knows(DRILLS) else None

    def status(self, snapshots: Sequence[bytes] = ()) -> messages.StatusIs:
        """How the work behind these snapshots is getting on (at most 256)."""
        return self._ask(messages.Status(snapshots=b"".join(snapshots)), messages.StatusIs)

    def fetch(self, snapshot: bytes, block: bytes, ids: Sequence[bytes]) -> dict[bytes, Future[Buffer]]:
        """Ask for chunks (at most 256) of one reference block; each future gets the sealed bytes or an OpeningFault."""
        futures: dict[bytes, Future[Buffer]] = {identity: Future() for identity in ids}
        missing = dict.fromkeys(ids)

        def build() -> messages.Message:
            # After a reconnect only what has not arrived yet is asked for; an empty list would ask for the block.
            return messages.Fetch(snapshot=snapshot, block=block, ids=b"".join(list(missing) or ids[:1]))

        def arrived(event: Event) -> None:
            record = event.message
            assert isinstance(record, messages.Record)
            if record.id in missing:
                del missing[record.id]
                if self._thawing is not None:
                    self._thawing.arrived()
                settle(futures[record.id], event.payload)

        def ended(done: Future[Event]) -> None:
            fault = done.exception()
            if isinstance(fault, Cold) and self._thawing is not None:
                self._thawing.put_off(self._thaw, send, failed)
                return
            failed(fault or OpeningFault("The server could not read a stored chunk."))

        def failed(fault: BaseException) -> None:
            for identity in list(missing):
                settle(futures[identity], fault)

        def send() -> None:
            self._line.request(build, on_part=arrived).add_done_callback(ended)

        send()
        return futures

    def wait_for_thaw(self, thawing: Thawing) -> None:
        """From now on ask cold storage for what `thawing` names when a FETCH meets it, and wait."""
        self._thawing = thawing

    def _thaw(self, message: messages.Thaw) -> messages.Thawing:
        return self._ask(message, messages.Thawing)

    def close(self) -> None:
        """Say goodbye and give the socket back."""
        if self._thawing is not None:
            self._thawing.close()
        self._line.close()

    def _knows(self, feature: str) -> bool:
        return feature in self._line.open().welcome.features

    def _ask(self, message: messages.Message, kind: type[Expected]) -> Expected:
        said = self._line.request(lambda: message).result().message
        if not isinstance(said, kind):
            raise Refused(f"The gateway answered with {type(said).__name__}.", "Report this.")
        return said

    def _prove(self, greeted: Greeted) -> None:
        """Show on a new connection that we hold the kit."""
        if self._proof_key is None:
            return
        from agents.keys.kit_proof import sign_kit_proof

        scope = blake3(self._scope.encode()).digest()[: limits.SHORT_ID]
        signature = sign_kit_proof(
            self._proof_key, greeted.welcome.nonce, greeted.certificate_hash, self._machine_id, scope
        )
        proof = messages.Prove(scope_name=self._scope, signature=signature)
        answer(greeted.channel.request(proof), messages.Proved, PROVE)
