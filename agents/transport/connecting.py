"""A TCP connection with TLS 1.3 on it, towards the gateway that this machine was enrolled with and no other."""

from __future__ import annotations

import hashlib
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agents.errors import Disconnected, StateFault
from agents.transport.faults import network_fault
from protocol.wire.limits import HANDSHAKE

if TYPE_CHECKING:
    from agents.state import AgentHome

SERVER_NAME = "gateway.strongroom.internal"
"""Every gateway's certificate carries this name, so that addresses may change without new certificates."""
CONNECT = 10.0
"""Seconds for one address to answer."""


@dataclass(frozen=True)
class Address:
    """Where a gateway listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def enrolled_context(home: AgentHome) -> ssl.SSLContext:
    """TLS as an enrolled machine: only the pinned authority's gateways, and our certificate shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority = home.authority_pem().decode("ascii", "replace")
    try:
        if hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority)).digest() != home.machine().ca_pin:
            raise StateFault(
                f"The CA certificate in {home.path} is not the one that was pinned at enrolment.",
                "Restore the agent home from a copy, or enrol the machine anew.",
            )
        home.certificate_pem(), home.identity_pem()
        context.load_verify_locations(cadata=authority)
        context.load_cert_chain(home.certificate_path, home.identity_path)
    except (ssl.SSLError, ValueError) as fault:
        raise StateFault(
            f"The certificates in {home.path} cannot be used ({type(fault).__name__}).",
            "Restore the agent home from a copy, or enrol the machine anew.",
        ) from fault
    return context


def stranger_context() -> ssl.SSLContext:
    """TLS before enrolment: nothing is known yet, so nothing is checked here.

    Whoever uses it sends HELLO only, and nothing else before `check_gateway_certificate` has passed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(address: Address, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a socket with its handshake done, non-blocking. Raises AgentError."""
    try:
        plain = socket.create_connection((address.host, address.port), timeout=CONNECT)
    except (OSError, UnicodeError) as fault:
        if isinstance(fault, OSError):
            raise network_fault(fault, str(address)) from fault
        raise Disconnected(f"The name in {address} is not a host name.", "Check the address.") from fault
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.settimeout(HANDSHAKE)
        secured = context.wrap_socket(plain, server_hostname=SERVER_NAME, suppress_ragged_eofs=True)
    except OSError as fault:
        plain.close()
        raise network_fault(fault, str(address)) from fault
    secured.setblocking(False)
    return secured


def leaf_certificate(secured: ssl.SSLSocket) -> bytes:
    """The certificate (DER) that the gateway showed on this connection."""
    return secured.getpeercert(binary_form=True) or b""
