"""X.509, and nothing but X.509: requests for a machine's certificate, and who may be the gateway.

The agent pins the platform's CA by the SHA-256 of its certificate (from the enrolment string). A certificate decides
whom the agent talks to; it never decides whose snapshots or keys are trusted.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from agents.keys.faults import CertificateFault
from agents.keys.rsa import PrivateKey, PublicKey

GATEWAY_NAME = "gateway.strongroom.internal"
CLOCK_LEEWAY = datetime.timedelta(minutes=5)
"""How far the clocks of agent and platform may differ when a certificate is brand new."""
MAX_CERTIFICATE = 16 * 1024
_ADVICE = "Somebody may be in between, or the platform was set up anew. Enrol again with a new string."


def make_csr(identity: PrivateKey, name: str) -> bytes:
    """Return a certificate request (PKCS #10, DER) for the identity key.

    ``name`` is a hint for people, cut to the 64 bytes that X.520 allows; the platform goes by the key's hash.
    """
    key = serialization.load_der_private_key(identity.to_der(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    hint = name.encode("utf-8", "replace")[:64].decode("utf-8", "ignore")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hint or "machine")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def check_gateway_certificate(
    leaf_der: bytes, ca_der: bytes, ca_hash: bytes, *, now: datetime.datetime | None = None
) -> None:
    """Return when the leaf is a gateway's, issued by the CA that is pinned; CertificateFault says what is not so."""
    ca = check_authority(ca_der, ca_hash)
    leaf = _load(leaf_der, "The gateway's certificate")
    _check_issued(leaf, ca, "The gateway's certificate")
    _check_dates(leaf, now, "The gateway's certificate")
    _check_usage(leaf, ExtendedKeyUsageOID.SERVER_AUTH, "The gateway's certificate")
    if GATEWAY_NAME not in _names(leaf):
        raise CertificateFault("The gateway's certificate is not made out to a gateway.", _ADVICE)


def check_machine_certificate(
    leaf_der: bytes, ca_der: bytes, ca_hash: bytes, identity: PublicKey, *, now: datetime.datetime | None = None
) -> None:
    """Return when the leaf is a machine's certificate for ``identity``, issued by the CA that is pinned."""
    ca = check_authority(ca_der, ca_hash)
    leaf = _load(leaf_der, "The machine's certificate")
    _check_issued(leaf, ca, "The machine's certificate")
    _check_dates(leaf, now, "The machine's certificate")
    _check_usage(leaf, ExtendedKeyUsageOID.CLIENT_AUTH, "The machine's certificate")
    if _spki(leaf) != identity.spki:
        raise CertificateFault("The machine's certificate is for another key than the one it was asked for.")


def check_authority(ca_der: bytes, ca_hash: bytes) -> x509.Certificate:
    """Return the CA's certificate when it is the pinned one (SHA-256 of its DER); CertificateFault otherwise."""
    if not hmac.compare_digest(hashlib.sha256(ca_der).digest(), ca_hash):
        raise CertificateFault("The platform's CA is not the one that the enrolment string names.", _ADVICE)
    ca = _load(ca_der, "The platform's CA certificate")
    try:
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, ValueError):
        constraints = None
    if constraints is None or not constraints.ca:
        raise CertificateFault("The platform's CA certificate is not one of a CA.")
    return ca


def fingerprint(certificate_pem: bytes) -> str:
    """SHA-256 of the certificate's key (SubjectPublicKeyInfo), 64 hex digits in groups of four: what people compare.

    Raises `CertificateFault`.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise CertificateFault("This machine's certificate cannot be read.") from None
    digits = hashlib.sha256(_spki(certificate)).hexdigest()
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))


def _load(der: bytes, what: str) -> x509.Certificate:
    try:
        if len(der) > MAX_CERTIFICATE:
            raise ValueError("too large")
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise CertificateFault(f"{what} cannot be read.") from None


def _check_issued(leaf: x509.Certificate, ca: x509.Certificate, what: str) -> None:
    try:
        leaf.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        raise CertificateFault(f"{what} was not issued by the platform's CA.", _ADVICE) from None


def _check_dates(leaf: x509.Certificate, now: datetime.datetime | None, what: str) -> None:
    now = now or datetime.datetime.now(datetime.UTC)
    if now + CLOCK_LEEWAY < leaf.not_valid_before_utc:
        raise CertificateFault(f"{what} is not valid yet.", "Check this machine's clock.")
    if now > leaf.not_valid_after_utc:
        raise CertificateFault(f"{what} has expired.", "Check this machine's clock, then the platform.")


def _check_usage(leaf: x509.Certificate, usage: ObjectIdentifier, what: str) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        fits = usage in usages and not constraints.ca
    except (x509.ExtensionNotFound, ValueError):
        fits = False
    if not fits:
        raise CertificateFault(f"{what} is not made for this use.", _ADVICE)


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return list(names.get_values_for_type(x509.DNSName))


def _spki(leaf: x509.Certificate) -> bytes:
    return leaf.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
