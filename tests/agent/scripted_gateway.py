"""A gateway that does what a test tells it: real TLS and the real protocol, but every answer scripted.

A script is a function that gets a `Peer`, one per connection; when it returns, the connection is closed.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agents.keys import machine_record
from agents.keys.rsa import PrivateKey, load_private, load_public
from agents.keys.vault_record import sign_vault_record
from agents.state import AgentHome, MachineState
from agents.transport.connecting import SERVER_NAME
from protocol.wire import NEED_DATA, Connection, Ended, Event, Role, messages

TENANT, VAULT, MACHINE = b"T" * 16, b"V" * 16, b"M" * 16
SECRET = bytes(range(32))
NONCE = b"n" * 32
WAIT = 10.0
Expected = TypeVar("Expected", bound=messages.Message)
_DAY = datetime.timedelta(days=1)


@cache
def rsa_key(label: str) -> PrivateKey:
    made = rsa.generate_private_key(65537, 3072)
    return load_private(made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


@dataclass(frozen=True)
class Authority:
    """A CA of a test; `name` tells one from another."""

    name: str

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        return _ca(self.name)[0]

    @property
    def certificate(self) -> x509.Certificate:
        return _ca(self.name)[1]

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pin(self) -> bytes:
        return hashlib.sha256(self.der).digest()

    def gateway(self, name: str = SERVER_NAME, until: datetime.timedelta = 30 * _DAY) -> tuple[bytes, bytes]:
        """PEM of a gateway's certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._issue(key.public_key(), name, ExtendedKeyUsageOID.SERVER_AUTH, until)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return leaf.public_bytes(Encoding.PEM), pem

    def machine(self, key: PrivateKey, until: datetime.timedelta = 30 * _DAY) -> bytes:
        """DER of a machine's certificate."""
        from cryptography.hazmat.primitives.serialization import load_der_public_key

        public = load_der_public_key(key.public.spki)
        return self._issue(public, "machine", ExtendedKeyUsageOID.CLIENT_AUTH, until).public_bytes(Encoding.DER)

    def _issue(self, public: Any, name: str, usage: Any, until: datetime.timedelta) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 60 * _DAY)
            .not_valid_after(now + until)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


@cache
def _ca(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 60 * _DAY)
        .not_valid_after(now + 365 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


PLATFORM = Authority("platform")


def vault_record(number: int = 1, signer: str = "signing", further: Sequence[tuple[str, Any]] = (), **changes) -> bytes:
    values = {"vault_id": VAULT, "epoch": 1, "opening_key": rsa_key("opening").public, **changes}
    return sign_vault_record(rsa_key(signer), number=number, further=further, **values)


class Peer:
    """The scripted end of one connection. Every wait ends after ten seconds."""

    def __init__(self, secured: ssl.SSLSocket, gateway: ScriptedGateway) -> None:
        self.socket = secured
        self.gateway = gateway
        self.connection = Connection(Role.GATEWAY)
        self.greeted = threading.Event()

    def next(self) -> Event:
        """The agent's next message; PINGs are answered on the way."""
        while True:
            event = self.connection.next_event()
            if event is NEED_DATA:
                data = self.socket.recv(1 << 16)
                if data:
                    self.connection.receive_data(data)
                else:
                    self.connection.receive_eof()
            elif isinstance(event, Ended):
                raise ConnectionError("the agent closed")
            elif isinstance(event.message, messages.Ping):
                self.send(messages.Pong(time=event.message.time), event.request)
            else:
                return event

    def expect(self, kind: type[Expected]) -> tuple[Expected, Event]:
        event = self.next()
        assert isinstance(event.message, kind), event.message
        return event.message, event

    def send(self, message: messages.Message, request: int = 0, payload: bytes = b"") -> None:
        for piece in self.connection.send(message, request, payload):
            self.socket.sendall(piece)

    def welcome(self, **changes: Any) -> None:
        """HELLO and WELCOME, as an honest gateway unless told otherwise."""
        _, event = self.expect(messages.Hello)
        self.send(welcome(**changes), event.request)
        self.greeted.set()

    def begin(self, **changes: Any) -> messages.Begin:
        asked, event = self.expect(messages.Begin)
        self.send(begun(**changes), event.request)
        return asked

    def stranger(self, ca: bytes = PLATFORM.der) -> None:
        self.welcome(authenticated=False, machine_id=b"", tenant_id=b"", vault_id=b"", vault_record=b"", ca=ca)

    def fail(self, code: int, request: int = 0, retry_after: float | None = None) -> None:
        self.send(messages.Failure(code=code, message="so the script says", retry_after=retry_after), request)

    def reset(self) -> None:
        """End the connection as a machine that lost its power does: no goodbye, no TLS ending."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self, how: int = socket.SHUT_WR) -> None:
        """Shut TCP down under TLS. (SSLSocket's own shutdown would go on in clear.)"""
        socket.socket.shutdown(self.socket, how)

    def wait_for_end(self) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while True:
                self.next()


def welcome(**changes: Any) -> messages.Welcome:
    values = {
        "version": 1,
        "server_version": "test",
        "nonce": NONCE,
        "ca": PLATFORM.der,
        "time": int(datetime.datetime.now(datetime.UTC).timestamp() * 1e6),
        "authenticated": True,
        "machine_id": MACHINE,
        "tenant_id": TENANT,
        "vault_id": VAULT,
        "vault_record": vault_record_once(),
        "write_only": False,
    }
    return messages.Welcome(**{**values, **changes})


@cache
def vault_record_once() -> bytes:
    return vault_record()


def begun(**changes: Any) -> messages.Begun:
    values = {"session": b"S" * 16, "fence": 1, "generation": 1, "head": bytes(32), "head_sequence": 0}
    return messages.Begun(**{**values, **changes})


Script = Callable[[Peer], None]


@dataclass
class ScriptedGateway:
    """Listens on a free port and gives each connection to the next script; the last one is used again and again."""

    scripts: list[Script]
    certificate: tuple[bytes, bytes] = field(default_factory=PLATFORM.gateway)
    clients: Authority = PLATFORM
    require_certificate: bool = True
    peers: list[Peer] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)

    def __enter__(self) -> ScriptedGateway:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._context = self._make_context()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return self

    def _make_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "gateway.pem"
            pem.write_bytes(b"".join(self.certificate))
            context.load_cert_chain(pem)
        context.load_verify_locations(cadata=self.clients.certificate.public_bytes(Encoding.PEM).decode())
        context.verify_mode = ssl.CERT_REQUIRED if self.require_certificate else ssl.CERT_OPTIONAL
        return context

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(len(self._threads), len(self.scripts) - 1)]
            thread = threading.Thread(target=self._serve, args=(plain, script), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket, script: Script) -> None:
        plain.settimeout(WAIT)
        try:
            with self._context.wrap_socket(plain, server_side=True) as secured:
                peer = Peer(secured, self)
                self.peers.append(peer)
                script(peer)
        except (OSError, ConnectionError):
            return
        except BaseException as fault:  # noqa: BLE001 - the test looks at it
            self.faults.append(fault)

    @property
    def connections(self) -> int:
        return len(self._threads)

    def __exit__(self, *exc: object) -> None:
        self._listener.close()
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.half_close(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(WAIT)
        if exc[0] is None:
            assert not self.faults, self.faults


def make_home(path: Path, port: int, authority: Authority = PLATFORM, certificate: bytes = b"", **changes) -> AgentHome:
    """An enrolled home without an enrolment."""
    home = AgentHome(path)
    home.prepare()
    identity = rsa_key("identity")
    home.save_keys(identity.to_pem(None), rsa_key("reading").to_pem(None))
    issued = certificate or PLATFORM.machine(identity)
    home.save_certificates(ssl.DER_cert_to_PEM_cert(issued).encode(), ssl.DER_cert_to_PEM_cert(authority.der).encode())
    home.save_dedup_secret(SECRET)
    home.save_machine_record(
        machine_record.make(
            vault_id=VAULT,
            machine_id=MACHINE,
            epoch=1,
            write_only=False,
            identity_key=identity.public,
            reading_key=load_public(rsa_key("reading").public.spki),
            dedup_secret=SECRET,
        )
    )
    values = {
        "host": "127.0.0.1",
        "port": port,
        "machine_id": MACHINE,
        "tenant_id": TENANT,
        "vault_id": VAULT,
        "ca_pin": authority.pin,
        "signing_key_hash": rsa_key("signing").public.key_hash,
        "record_number": 1,
        "epoch": 1,
        "machine_name": "alpha",
        **changes,
    }
    home.save_machine(MachineState(**values))
    return home


@contextlib.contextmanager
def scripted(tmp_path: Path, *scripts: Script, home: dict[str, Any] | None = None, **options: Any) -> Iterator[Any]:
    """A running gateway with these scripts, and an agent home that knows it."""
    with ScriptedGateway(list(scripts), **options) as gateway:
        yield gateway, make_home(tmp_path / "agent", gateway.port, **(home or {}))
