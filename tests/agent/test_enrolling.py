"""Enrolment against gateways that cheat: nothing is sent before the CA is right, and nothing half remains."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents.errors import AgentError, ExitCode, Refused, TokenRefused
from agents.keys.enrollment import EnrollmentString, seal_blob
from agents.keys.enrollment_key import EnrollmentKey
from agents.keys.rsa import load_public
from agents.state import AgentHome
from agents.transport import enrolling
from agents.transport.enrolling import Applicant, enroll
from protocol.wire import FailureCode, messages
from tests.agent.scripted_gateway import (
    MACHINE,
    PLATFORM,
    SECRET,
    TENANT,
    VAULT,
    Authority,
    Peer,
    ScriptedGateway,
    make_home,
    rsa_key,
    vault_record,
)

pytestmark = pytest.mark.usefixtures("hasty")
FOREIGN = Authority("foreign")
TOKEN, ONE_TIME_KEY = b"t" * 32, b"k" * 32


def applicant() -> Applicant:
    return Applicant(rsa_key("identity"), rsa_key("reading"), "alpha", "Test 1")


def string(port: int, ca_hash: bytes = PLATFORM.pin) -> EnrollmentString:
    return EnrollmentString("127.0.0.1", port, TOKEN, ca_hash, ONE_TIME_KEY)


def blob(vault_id: bytes = VAULT, number: int = 1, *, write_only: bool = False) -> bytes:
    key = EnrollmentKey(vault_id, 1, SECRET, rsa_key("signing").public.key_hash, number)
    return seal_blob(string(1), key, write_only=write_only)


def enrolled(**changes: Any) -> messages.Enrolled:
    values = {
        "certificate": PLATFORM.machine(rsa_key("identity")),
        "ca": PLATFORM.der,
        "machine_id": MACHINE,
        "tenant_id": TENANT,
        "vault_id": VAULT,
        "vault_record": vault_record(),
        "blob": blob(),
        "write_only": False,
        "machine_name": "alpha",
    }
    return messages.Enrolled(**{**values, **changes})


def issuing(**changes: Any) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.stranger()
        asked, event = peer.expect(messages.Enroll)
        assert asked.token == TOKEN
        assert load_public(asked.reading_key) == rsa_key("reading").public
        peer.send(enrolled(**changes), event.request)
        peer.wait_for_end()

    return script


def publishing(peer: Peer) -> None:
    peer.welcome()
    _, event = peer.expect(messages.Publish)
    peer.send(messages.Published(), event.request)
    peer.wait_for_end()


def no_enroll(peer: Peer) -> None:
    """A gateway that must not get the token."""
    peer.stranger()
    with pytest.raises(ConnectionError):
        peer.next()


def attempt(tmp_path: Path, *scripts: Callable[[Peer], None], **options: Any) -> tuple[AgentHome, Any]:
    ca_hash = options.pop("ca_hash", PLATFORM.pin)
    home = AgentHome(tmp_path / "agent")
    with ScriptedGateway(list(scripts), require_certificate=False, **options) as gateway:
        try:
            return home, enroll(home, string(gateway.port, ca_hash), applicant(), lambda sentence: None)
        except AgentError as fault:
            return home, fault


def test_enrolment_fills_the_home_and_publishes_the_record(tmp_path: Path):
    home, machine = attempt(tmp_path, issuing(write_only=True, blob=blob(write_only=True)), publishing)
    assert machine.machine_name == "alpha"
    assert home.machine() == machine
    assert machine.write_only
    assert home.dedup_secret() == SECRET
    assert machine.signing_key_hash == rsa_key("signing").public.key_hash
    assert oct(home.path.stat().st_mode & 0o777) == "0o700"
    assert {oct(file.stat().st_mode & 0o777) for file in home.path.iterdir()} == {"0o600"}


def test_broken_connection_while_publishing_is_mended(tmp_path: Path):
    home, _ = attempt(tmp_path, issuing(), lambda peer: peer.reset(), publishing)
    assert home.is_enrolled


def cheats() -> list[Any]:
    expired = PLATFORM.machine(rsa_key("identity"), until=-datetime.timedelta(days=1))
    return [
        pytest.param({"certificate": FOREIGN.machine(rsa_key("identity"))}, id="certificate of another CA"),
        pytest.param({"certificate": PLATFORM.machine(rsa_key("other"))}, id="certificate for another key"),
        pytest.param({"certificate": expired}, id="expired certificate"),
        pytest.param({"certificate": b"nonsense"}, id="no certificate"),
        pytest.param({"ca": FOREIGN.der}, id="another CA"),
        pytest.param({"blob": blob(vault_id=b"W" * 16)}, id="blob of another vault"),
        pytest.param({"blob": blob()[:-1] + b"x"}, id="altered blob"),
        pytest.param({"blob": b""}, id="no blob"),
        pytest.param({"vault_id": b"W" * 16}, id="another vault"),
        pytest.param({"vault_record": vault_record(signer="stranger")}, id="the server's own vault record"),
        pytest.param({"blob": blob(number=2)}, id="an older vault record than the string knows"),
        pytest.param({"vault_record": vault_record(epoch=2)}, id="another epoch"),
        pytest.param({"vault_record": b""}, id="no vault record"),
        pytest.param({"blob": blob(write_only=True)}, id="a write-only machine that shall be able to read"),
        pytest.param({"write_only": True}, id="a machine that shall not be able to read any more"),
    ]


@pytest.mark.parametrize("changes", cheats())
def test_cheating_gateway_gets_nothing_and_leaves_nothing(tmp_path: Path, changes: dict):
    # The second script would let the enrolment succeed: what stops it is the check of what the first one said.
    home, fault = attempt(tmp_path, issuing(**changes), publishing)
    assert isinstance(fault, AgentError)
    assert list(tmp_path.iterdir()) == []
    assert not home.is_enrolled


@pytest.mark.parametrize(
    ("options", "ca_hash"),
    [
        ({"certificate": FOREIGN.gateway()}, PLATFORM.pin),
        ({"certificate": PLATFORM.gateway(name="web.example")}, PLATFORM.pin),
        ({"certificate": PLATFORM.gateway(until=-datetime.timedelta(days=1))}, PLATFORM.pin),
        ({}, FOREIGN.pin),
    ],
    ids=["of another authority", "for another name", "out of date", "another pin"],
)
def test_token_is_never_sent_to_a_gateway_that_the_string_does_not_pin(tmp_path: Path, options: dict, ca_hash: bytes):
    _, fault = attempt(tmp_path, no_enroll, ca_hash=ca_hash, **options)
    assert isinstance(fault, AgentError)
    assert fault.exit_code == ExitCode.AUTHENTICATION
    assert list(tmp_path.iterdir()) == []


def test_refused_token_is_one_sentence_and_leaves_nothing(tmp_path: Path):
    def refuse(peer: Peer) -> None:
        peer.stranger()
        _, event = peer.expect(messages.Enroll)
        peer.fail(FailureCode.TOKEN, event.request)
        peer.wait_for_end()

    _, fault = attempt(tmp_path, refuse)
    assert isinstance(fault, TokenRefused)
    assert list(tmp_path.iterdir()) == []


def test_publishing_that_never_succeeds_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(enrolling, "PUBLISH_FOR", 0.2)
    home, fault = attempt(tmp_path, issuing(), lambda peer: peer.reset())
    assert isinstance(fault, AgentError)
    assert list(tmp_path.iterdir()) == []
    assert not home.is_enrolled


def test_enrolled_home_is_not_overwritten(tmp_path: Path):
    home = make_home(tmp_path / "agent", 1)
    before = {file.name: file.read_bytes() for file in home.path.iterdir()}
    with pytest.raises(Refused, match="enrolled already"):
        enroll(home, string(1), applicant(), lambda sentence: None)
    assert {file.name: file.read_bytes() for file in home.path.iterdir()} == before
