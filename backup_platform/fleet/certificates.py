"""X.509 as the platform writes it: the authority's own certificate, the gateway's, the machines'."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

GATEWAY_NAME = "gateway.strongroom.internal"
"""The name that agents expect of every gateway, wherever it is reached: they trust one authority, not DNS."""

AUTHORITY_LIFE = timedelta(days=3650)
GATEWAY_LIFE = timedelta(days=365)
GATEWAY_RENEWAL = timedelta(days=30)
MACHINE_LIFE = timedelta(days=90)
BACKDATED = timedelta(hours=1)
"""A machine whose clock is a little slow must be able to use its certificate at once."""

SigningKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def authority_certificate(key: SigningKey) -> x509.Certificate:
    """The self-signed certificate of a new authority; it may sign leaves and nothing else."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Strongroom authority")])
    builder = _builder(name, name, key.public_key(), AUTHORITY_LIFE, key)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage(signs_certificates=True), critical=True).sign(key, hashes.SHA256())


def gateway_certificate(key: PublicKey, authority: x509.Certificate, signer: SigningKey) -> x509.Certificate:
    """A gateway's certificate: serverAuth, for `GATEWAY_NAME`."""
    builder = _leaf(GATEWAY_NAME, key, GATEWAY_LIFE, ExtendedKeyUsageOID.SERVER_AUTH, authority, signer)
    names = x509.SubjectAlternativeName([x509.DNSName(GATEWAY_NAME)])
    return builder.add_extension(names, critical=False).sign(signer, hashes.SHA256())


def machine_certificate(
    machine_id: str, key: PublicKey, authority: x509.Certificate, signer: SigningKey
) -> x509.Certificate:
    """A machine's certificate: clientAuth, named by the machine's id. Identity is the key, never this name."""
    builder = _leaf(machine_id, key, MACHINE_LIFE, ExtendedKeyUsageOID.CLIENT_AUTH, authority, signer)
    return builder.sign(signer, hashes.SHA256())


def _leaf(
    name: str,
    key: PublicKey,
    life: timedelta,
    purpose: ObjectIdentifier,
    authority: x509.Certificate,
    signer: SigningKey,
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, authority.subject, key, life, signer)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    return builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, life: timedelta, signer: SigningKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC).replace(microsecond=0)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - BACKDATED).not_valid_after(now + life)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(signed_by, critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
