"""Whoever stands between: other versions of TLS, certificates made for something else, machines posing as gateways."""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agents.errors import UntrustedServer
from agents.state import AgentHome
from agents.transport.connecting import SERVER_NAME
from agents.transport.enrolling import enroll
from agents.transport.greeting import greet
from protocol.wire import messages
from tests.agent.scripted_gateway import PLATFORM, Peer, ScriptedGateway, scripted
from tests.agent.test_enrolling import applicant, string

pytestmark = pytest.mark.defence
DAY = datetime.timedelta(days=1)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def machine_posing_as_gateway() -> tuple[bytes, bytes]:
    """A certificate of the right authority with the gateway's name, made for clients."""
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = PLATFORM._issue(key.public_key(), SERVER_NAME, ExtendedKeyUsageOID.CLIENT_AUTH, 30 * DAY)
    return leaf.public_bytes(Encoding.PEM), pem(key)


def machine_posing_as_authority() -> tuple[bytes, bytes]:
    """A gateway's certificate that a machine issued with its own."""
    machine, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = PLATFORM._issue(machine.public_key(), "machine", ExtendedKeyUsageOID.CLIENT_AUTH, 30 * DAY)
    now = datetime.datetime.now(datetime.UTC)
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(machine, hashes.SHA256())
    )
    return leaf.public_bytes(Encoding.PEM) + issuer.public_bytes(Encoding.PEM), pem(key)


POSERS = [machine_posing_as_gateway, machine_posing_as_authority]


@pytest.mark.parametrize("poser", POSERS)
def test_enrolled_machine_says_nothing_to_a_poser(tmp_path: Path, poser):
    heard: list[Peer] = []
    with scripted(tmp_path, heard.append, certificate=poser()) as (_, home), pytest.raises(UntrustedServer):
        greet(home)
    assert not heard


@pytest.mark.parametrize("poser", POSERS)
def test_token_is_not_sent_to_a_poser(tmp_path: Path, poser):
    heard: list[messages.Message] = []

    def stranger(peer: Peer) -> None:
        peer.stranger()
        heard.append(peer.next().message)

    with (
        ScriptedGateway([stranger], certificate=poser(), require_certificate=False) as gateway,
        pytest.raises(UntrustedServer),
    ):
        enroll(AgentHome(tmp_path / "agent"), string(gateway.port), applicant(), lambda sentence: None)
    assert heard == []


def older_server(folder: Path) -> ssl.SSLContext:
    certificate, key = PLATFORM.gateway()
    (folder / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(folder / "both.pem")
    return context


def test_agent_speaks_tls_1_3_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    context = older_server(tmp_path)
    monkeypatch.setattr(ScriptedGateway, "_make_context", lambda self: context)
    with scripted(tmp_path, lambda peer: None) as (_, home), pytest.raises(UntrustedServer, match=r"TLS 1\.3"):
        greet(home)
    with ScriptedGateway([lambda peer: None]) as gateway, pytest.raises(UntrustedServer, match=r"TLS 1\.3"):
        enroll(AgentHome(tmp_path / "new"), string(gateway.port), applicant(), lambda sentence: None)


def test_gateway_speaks_tls_1_3_only(running_gateway):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((running_gateway.host, running_gateway.port), 5) as raw,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(raw, server_hostname=SERVER_NAME)
