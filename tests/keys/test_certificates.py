"""X.509: requests that the platform accepts, and gateways that are none."""

from __future__ import annotations

import datetime
import hashlib
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agents.errors import ExitCode
from agents.keys.certificates import check_gateway_certificate, check_machine_certificate, make_csr
from agents.keys.faults import CertificateFault
from tests.keys.material import DER, foreign_key, private_key

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
GATEWAY = "gateway.strongroom.internal"


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@cache
def authority(key: str = "ca", is_ca: bool = True) -> x509.Certificate:
    public = foreign_key(key).public_key()
    builder = x509.CertificateBuilder(named("CA"), named("CA"), public, 1, NOW - DAY, NOW + 400 * DAY)
    constraints = x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None)
    return builder.add_extension(constraints, critical=True).sign(foreign_key(key), hashes.SHA256())


def leaf(
    *,
    name: str | None = GATEWAY,
    usage: x509.ObjectIdentifier | None = SERVER,
    signer: str = "ca",
    issuer: str = "CA",
    is_ca: bool = False,
    key: str = "gateway",
    start: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + 90 * DAY,
) -> bytes:
    public = foreign_key(key).public_key()
    builder = x509.CertificateBuilder(named(issuer), named("gateway"), public, 7, start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    if name is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(foreign_key(signer), hashes.SHA256()).public_bytes(DER)


CA = authority().public_bytes(DER)
PIN = hashlib.sha256(CA).digest()


def test_the_gateway_that_the_pinned_authority_made_is_accepted() -> None:
    check_gateway_certificate(leaf(), CA, PIN, now=NOW)


REFUSED = {
    "another authority's key": ({"signer": "evil"}, "not issued by"),
    "another issuer": ({"issuer": "Other"}, "not issued by"),
    "expired": ({"end": NOW - datetime.timedelta(seconds=1)}, "expired"),
    "not yet valid": ({"start": NOW + DAY}, "not valid yet"),
    "a machine's": ({"usage": CLIENT}, "not made for this use"),
    "without a use": ({"usage": None}, "not made for this use"),
    "an authority's": ({"is_ca": True}, "not made for this use"),
    "another name": ({"name": "evil.example"}, "not made out to a gateway"),
    "no name": ({"name": None}, "not made out to a gateway"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_gateway_is_refused_and_the_reason_named(case: str) -> None:
    changes, fault = REFUSED[case]
    with pytest.raises(CertificateFault, match=fault) as caught:
        check_gateway_certificate(leaf(**changes), CA, PIN, now=NOW)
    assert caught.value.exit_code == ExitCode.AUTHENTICATION


def test_an_authority_that_is_not_pinned_is_refused() -> None:
    other = authority("evil").public_bytes(DER)
    with pytest.raises(CertificateFault, match="not the one that the enrolment string names"):
        check_gateway_certificate(leaf(signer="evil"), other, PIN, now=NOW)


def test_a_pinned_certificate_that_is_no_authority_is_refused() -> None:
    plain = authority(is_ca=False).public_bytes(DER)
    with pytest.raises(CertificateFault, match="not one of a CA"):
        check_gateway_certificate(leaf(), plain, hashlib.sha256(plain).digest(), now=NOW)


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x30\x82" * 20_000])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(CertificateFault, match="cannot be read"):
        check_gateway_certificate(data, CA, PIN, now=NOW)
    with pytest.raises(CertificateFault, match="cannot be read"):
        check_gateway_certificate(leaf(), data, hashlib.sha256(data).digest(), now=NOW)


def test_a_small_difference_of_clocks_is_forgiven_at_the_start_only() -> None:
    check_gateway_certificate(leaf(start=NOW + datetime.timedelta(minutes=4)), CA, PIN, now=NOW)


def test_a_machine_takes_a_certificate_for_its_own_key_only() -> None:
    made = leaf(usage=CLIENT, name=None, key="identity")
    check_machine_certificate(made, CA, PIN, private_key("identity").public, now=NOW)
    with pytest.raises(CertificateFault, match="another key"):
        check_machine_certificate(made, CA, PIN, private_key("evil").public, now=NOW)
    with pytest.raises(CertificateFault, match="not made for this use"):
        check_machine_certificate(leaf(key="identity"), CA, PIN, private_key("identity").public, now=NOW)


@pytest.mark.parametrize("name", ["web-1.example.org", "", "Ä" * 200])
def test_a_request_is_signed_by_the_identity_key_with_sha256(name: str) -> None:
    request = x509.load_der_x509_csr(make_csr(private_key("identity"), name))
    assert request.is_signature_valid
    assert isinstance(request.signature_hash_algorithm, hashes.SHA256)
    assert request.public_key().public_numbers() == foreign_key("identity").public_key().public_numbers()
