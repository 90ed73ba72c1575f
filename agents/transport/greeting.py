"""HELLO and WELCOME of an enrolled machine, and the check that nothing is sealed before it has passed.

What the server says in WELCOME decides nothing: the vault record has to verify under the signing key whose hash came
with the enrolment secret, and must not be older than one that this machine has seen.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeout
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from agents import __version__
from agents.errors import AgentError, AuthenticationFault, Disconnected, UntrustedVault
from agents.transport.connecting import Address, connect, enrolled_context, leaf_certificate
from agents.transport.faults import ENROLL_AGAIN
from agents.transport.io_loop import Channel
from protocol.wire import limits, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agents.keys.vault_record import VaultRecord
    from agents.state import AgentHome, MachineState
    from agents.transport.throttle import Throttle
    from protocol.wire import Event

VERSIONS = [1]
Expected = TypeVar("Expected", bound=messages.Message)


@dataclass(frozen=True)
class Greeted:
    """A connection on which both sides know each other. `certificate_hash`: SHA-256 of the gateway's leaf (DER)."""

    channel: Channel
    welcome: messages.Welcome
    vault_record: VaultRecord
    certificate_hash: bytes


def answer(future: Future[Event], kind: type[Expected], seconds: float) -> Expected:
    """Wait for an answer of one kind. Raises Disconnected when none comes in time."""
    try:
        event = future.result(seconds)
    except WaitTimeout:
        raise Disconnected(f"The gateway did not answer within {seconds:.0f} s.", "Try again later.") from None
    if not isinstance(event.message, kind):
        raise AgentError(
            f"The gateway answered with {type(event.message).__name__} where it should not.", "Report this."
        )
    return event.message


def greet(
    home: AgentHome,
    on_notice: Callable[[Channel, Event], None] | None = None,
    on_broken: Callable[[Channel, AgentError], None] | None = None,
    *,
    throttle: Throttle | None = None,
    on_request: Callable[[Channel, Event], None] | None = None,
    features: Sequence[str] = (),
) -> Greeted:
    """Connect as this machine and check who answers. Raises AgentError; nothing stays open then."""
    machine = home.machine()
    address = Address(machine.host, machine.port)
    secured = connect(address, enrolled_context(home))
    certificate_hash = hashlib.sha256(leaf_certificate(secured)).digest()
    channel = Channel(secured, str(address), on_notice, on_broken, throttle, on_request)
    try:
        welcome = say_hello(channel, features)
        record = check_welcome(welcome, machine)
        home.remember_record_number(record.number)
    except BaseException:
        channel.break_off(Disconnected("The greeting failed."))
        raise
    return Greeted(channel, welcome, record, certificate_hash)


def say_hello(channel: Channel, features: Sequence[str] = ()) -> messages.Welcome:
    """Send HELLO and return the WELCOME."""
    hello = messages.Hello(versions=VERSIONS, agent_version=__version__, features=list(features))
    return answer(channel.request(hello), messages.Welcome, limits.HANDSHAKE)


def check_welcome(welcome: messages.Welcome, machine: MachineState) -> VaultRecord:
    """Return the vault record when server and vault are this machine's own. Raises AuthenticationFault kinds."""
    from agents.keys.vault_record import open_vault_record

    if not welcome.authenticated:
        raise AuthenticationFault("The gateway does not know this machine's certificate.", ENROLL_AGAIN)
    if (welcome.machine_id, welcome.tenant_id) != (machine.machine_id, machine.tenant_id):
        raise AuthenticationFault("The gateway takes this machine for another one.", ENROLL_AGAIN)
    if welcome.vault_id != machine.vault_id:
        raise UntrustedVault(
            "The gateway names another vault than the one this machine was enrolled in: nothing is sent.",
            "Ask the operator of the platform.",
        )
    return open_vault_record(
        welcome.vault_record, machine.signing_key_hash, machine.record_number, vault_id=machine.vault_id
    )
