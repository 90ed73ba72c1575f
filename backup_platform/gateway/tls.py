"""The gateway's TLS: one context for strangers that enrol and machines that show a certificate."""

from __future__ import annotations

import hashlib
import ssl
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backup_platform.fleet.services import authority


@dataclass(frozen=True, slots=True)
class GatewayTls:
    """The server context, SHA-256 of the leaf (DER) that it shows, and the authority's certificate (DER)."""

    context: ssl.SSLContext
    certificate_hash: bytes
    ca: bytes


def server_tls() -> GatewayTls:
    """TLS 1.3 only; a client certificate is optional but must be the authority's; no tickets, so each connection is
    judged afresh. Uses files and the database; raises AuthorityFault."""
    issuer = authority()
    identity = issuer.gateway_identity()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    context.load_verify_locations(cadata=issuer.der)
    context.load_cert_chain(identity.certificate_path, identity.key_path)
    leaf = x509.load_pem_x509_certificate(identity.certificate_path.read_bytes())
    return GatewayTls(context, hashlib.sha256(leaf.public_bytes(Encoding.DER)).digest(), issuer.der)


def identity_of(connection: ssl.SSLObject | None) -> bytes | None:
    """SHA-256 of the peer's SubjectPublicKeyInfo, or None without a certificate. OpenSSL has checked the chain."""
    der = connection.getpeercert(binary_form=True) if connection is not None else None
    if not der:
        return None
    key = x509.load_der_x509_certificate(der).public_key()
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
