"""A new certificate before the old one ends, over the same key."""

from __future__ import annotations

import datetime
import ssl
from typing import TYPE_CHECKING

from agents.keys.certificates import check_machine_certificate, make_csr
from agents.keys.rsa import load_private

if TYPE_CHECKING:
    from agents.state import AgentHome
    from agents.transport.control import ControlLink

SHARE = 3
"""It is renewed when less than one part in so many of its life is left."""


def is_due(home: AgentHome, now: datetime.datetime | None = None) -> bool:
    """Whether the machine's certificate should be renewed. Raises AgentError or ValueError when it cannot be read."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(home.certificate_pem())
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return ends - (now or datetime.datetime.now(datetime.UTC)) < (ends - begins) / SHARE


def renew(home: AgentHome, link: ControlLink) -> None:
    """Ask for a new certificate and keep it, if it is what was asked for. Raises AgentError."""
    machine, identity = home.machine(), load_private(home.identity_pem())
    renewed = link.renew(make_csr(identity, machine.machine_name))
    check_machine_certificate(renewed.certificate, renewed.ca, machine.ca_pin, identity.public)
    home.save_certificates(_pem(renewed.certificate), _pem(renewed.ca))


def _pem(der: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(der).encode("ascii")
