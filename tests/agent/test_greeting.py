"""Whom the agent believes to be its gateway and its vault, and what it says when it does not."""

from __future__ import annotations

import datetime
import socket
import threading
from pathlib import Path

import pytest

from agents.errors import (
    AgentError,
    AuthenticationFault,
    Disconnected,
    ExitCode,
    Refused,
    Revoked,
    StateFault,
    UntrustedServer,
    UntrustedVault,
)
from agents.transport import greeting
from agents.transport.greeting import greet
from protocol.wire import FailureCode, limits, messages
from tests.agent.scripted_gateway import (
    PLATFORM,
    Authority,
    Peer,
    make_home,
    rsa_key,
    scripted,
    vault_record,
)

FOREIGN = Authority("foreign")
PAST = -datetime.timedelta(days=1)


def honest(peer: Peer) -> None:
    peer.welcome()
    peer.wait_for_end()


def said_by(home, kind: type[AgentError]) -> AgentError:
    with pytest.raises(kind) as caught:
        greet(home)
    assert len(str(caught.value)) > 20
    return caught.value


def test_honest_gateway_is_greeted_and_its_vault_record_kept(tmp_path: Path):
    with scripted(tmp_path, lambda peer: (peer.welcome(vault_record=vault_record(number=5)), peer.wait_for_end())) as (
        _,
        home,
    ):
        greeted = greet(home)
        assert greeted.vault_record.number == 5
        assert home.machine().record_number == 5
        assert len(greeted.certificate_hash) == 32
        greeted.channel.close()


def test_gateway_of_another_authority_is_not_trusted(tmp_path: Path):
    with scripted(tmp_path, honest, certificate=FOREIGN.gateway()) as (_, home):
        fault = said_by(home, UntrustedServer)
        assert fault.exit_code == ExitCode.AUTHENTICATION
        assert "CA" in fault.what


def test_certificate_that_is_not_a_gateways_is_not_trusted(tmp_path: Path):
    with scripted(tmp_path, honest, certificate=PLATFORM.gateway(name="web.example")) as (_, home):
        assert "not a gateway" in said_by(home, UntrustedServer).what


def test_expired_gateway_certificate_is_named(tmp_path: Path):
    with scripted(tmp_path, honest, certificate=PLATFORM.gateway(until=PAST)) as (_, home):
        assert "expired" in said_by(home, UntrustedServer).what


def test_expired_machine_certificate_becomes_one_sentence_and_code_4(tmp_path: Path):
    certificate = PLATFORM.machine(rsa_key("identity"), until=PAST)
    with scripted(tmp_path, honest, home={"certificate": certificate}) as (_, home):
        fault = said_by(home, AuthenticationFault)
        assert fault.what == "This machine's certificate has expired."
        assert "enroll" in fault.advice


def test_machine_certificate_of_another_authority_becomes_one_sentence(tmp_path: Path):
    certificate = FOREIGN.machine(rsa_key("identity"))
    with scripted(tmp_path, honest, home={"certificate": certificate}) as (_, home):
        assert "another authority" in said_by(home, AuthenticationFault).what


def test_key_that_does_not_fit_the_certificate_is_a_fault_of_the_home(tmp_path: Path):
    home = make_home(tmp_path / "agent", 1, certificate=PLATFORM.machine(rsa_key("other")))
    assert str(home.path) in said_by(home, StateFault).what


def test_exchanged_ca_file_is_not_the_pinned_one(tmp_path: Path):
    home = make_home(tmp_path / "agent", 1, authority=FOREIGN, ca_pin=PLATFORM.pin)
    assert "pinned" in said_by(home, StateFault).what


def test_server_without_tls_is_named(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.recv(4096)
                plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        home = make_home(tmp_path / "agent", listener.getsockname()[1])
        assert "does not speak TLS" in said_by(home, UntrustedServer).what
        thread.join()


def test_nobody_listening_is_temporary(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    fault = said_by(make_home(tmp_path / "agent", port), Disconnected)
    assert fault.exit_code == ExitCode.TEMPORARY
    assert f"127.0.0.1:{port}" in fault.what


def test_gateway_that_says_nothing_is_left_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "HANDSHAKE", 0.2)
    with scripted(tmp_path, lambda peer: peer.wait_for_end()) as (_, home):
        assert "did not answer" in said_by(home, Disconnected).what


def test_gateway_that_closes_at_once_is_temporary(tmp_path: Path):
    with scripted(tmp_path, lambda peer: None) as (_, home):
        assert said_by(home, Disconnected).exit_code == ExitCode.TEMPORARY


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"vault_record": vault_record(signer="stranger")}, UntrustedVault),
        ({"vault_record": vault_record(number=2)[:-1] + b"x"}, UntrustedVault),
        ({"vault_record": b"nonsense"}, UntrustedVault),
        ({"vault_record": vault_record(vault_id=b"W" * 16)}, UntrustedVault),
        ({"vault_id": b"W" * 16}, UntrustedVault),
        ({"machine_id": b"W" * 16}, AuthenticationFault),
        ({"tenant_id": b"W" * 16}, AuthenticationFault),
        (
            {"authenticated": False, "machine_id": b"", "tenant_id": b"", "vault_id": b"", "vault_record": b""},
            AuthenticationFault,
        ),
    ],
)
def test_welcome_that_does_not_verify_is_refused_with_code_4(tmp_path: Path, changes: dict, kind: type[AgentError]):
    with scripted(tmp_path, lambda peer: (peer.welcome(**changes), peer.wait_for_end())) as (_, home):
        assert said_by(home, kind).exit_code == ExitCode.AUTHENTICATION


def test_record_with_an_extra_recipient_of_the_servers_is_refused(tmp_path: Path):
    """The server adds its own key to the recipients and signs with the only signing key it has: its own."""
    record = vault_record(number=9, signer="stranger", further=[("server", rsa_key("server").public)])
    with scripted(tmp_path, lambda peer: (peer.welcome(vault_record=record), peer.wait_for_end())) as (_, home):
        said_by(home, UntrustedVault)
        assert home.machine().record_number == 1


def test_older_vault_record_is_refused(tmp_path: Path):
    with scripted(tmp_path, honest, home={"record_number": 2}) as (_, home):
        assert "record 2 has been seen" in said_by(home, UntrustedVault).what


def test_revoked_machine_is_told_so(tmp_path: Path):
    def refuse(peer: Peer) -> None:
        _, event = peer.expect(messages.Hello)
        peer.fail(FailureCode.REVOKED, event.request)

    with scripted(tmp_path, refuse) as (_, home):
        assert said_by(home, Revoked).exit_code == ExitCode.AUTHENTICATION


def test_gateway_that_speaks_nonsense_is_left(tmp_path: Path):
    def babble(peer: Peer) -> None:
        peer.expect(messages.Hello)
        peer.socket.sendall(b"\xff" * 64)
        peer.wait_for_end()

    with scripted(tmp_path, babble) as (_, home):
        assert "broke the protocol" in said_by(home, Refused).what


def test_version_that_was_not_offered_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(greeting, "VERSIONS", [1, 7])

    def choose(peer: Peer) -> None:
        _, event = peer.expect(messages.Hello)
        peer.connection._talk._offered = (1, 9)
        from tests.agent.scripted_gateway import welcome

        peer.send(welcome(version=9), event.request)
        peer.wait_for_end()

    with scripted(tmp_path, choose) as (_, home):
        said_by(home, AgentError)
