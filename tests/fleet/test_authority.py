"""The certificate authority: its files, what it signs, and that TLS between what it signed really works."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from backup_platform.fleet import authority as authority_module
from backup_platform.fleet import certificates
from backup_platform.fleet.authority import open_authority
from backup_platform.fleet.certificates import GATEWAY_NAME
from backup_platform.fleet.errors import AuthorityFault
from tests.fleet.conftest import rsa_key


def days_left(certificate):
    return (certificate.not_valid_after_utc - datetime.now(UTC)) / timedelta(days=1)


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_it_is_made_once_with_private_files(tmp_path):
    first, second = open_authority(tmp_path), open_authority(tmp_path)
    assert first.fingerprint == second.fingerprint
    assert 3640 < days_left(first.certificate) < 3651
    assert (tmp_path / "authority").stat().st_mode & 0o777 == 0o700
    identity = first.gateway_identity()
    for path in (tmp_path / "authority" / "ca.key", identity.key_path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(first)


def test_many_at_once_make_one_authority(tmp_path):
    found = []
    threads = [Thread(target=lambda: found.append(open_authority(tmp_path).fingerprint)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(found) == 6
    assert len(set(found)) == 1


def test_leaves_have_one_purpose_each(tmp_path):
    authority = open_authority(tmp_path)
    machine = authority.issue_machine("an-id", rsa_key("identity").public_key())
    gateway = load(authority.gateway_identity().certificate_path)
    assert 89 < days_left(machine) <= 90
    assert 364 < days_left(gateway) <= 365
    purposes = [list(c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) for c in (machine, gateway)]
    assert purposes == [[ExtendedKeyUsageOID.CLIENT_AUTH], [ExtendedKeyUsageOID.SERVER_AUTH]]
    for leaf in (machine, gateway):
        assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
        leaf.verify_directly_issued_by(authority.certificate)


def test_gateway_certificate_is_kept_until_a_month_before_its_end(tmp_path, monkeypatch):
    authority = open_authority(tmp_path)
    identity = authority.gateway_identity()
    before = load(identity.certificate_path).serial_number
    assert load(authority.gateway_identity().certificate_path).serial_number == before
    monkeypatch.setattr(certificates, "GATEWAY_LIFE", timedelta(days=29))
    identity.certificate_path.unlink()
    short = load(authority.gateway_identity().certificate_path).serial_number
    monkeypatch.undo()
    assert load(authority.gateway_identity().certificate_path).serial_number not in {before, short}


def test_half_a_gateway_pair_is_made_anew(tmp_path):
    authority = open_authority(tmp_path)
    identity = authority.gateway_identity()
    other = ec.generate_private_key(ec.SECP256R1())
    identity.key_path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    fresh = authority.gateway_identity()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(fresh.certificate_path, fresh.key_path)


@pytest.mark.parametrize("damage", ["no key", "damaged key", "other key", "damaged certificate"])
def test_a_broken_authority_is_said_and_never_replaced(tmp_path, damage):
    open_authority(tmp_path)
    key, certificate = tmp_path / "authority" / "ca.key", tmp_path / "authority" / "ca.pem"
    kept = certificate.read_bytes()
    if damage == "no key":
        key.unlink()
    elif damage == "damaged key":
        key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    elif damage == "other key":
        other = ec.generate_private_key(ec.SECP256R1())
        key.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    else:
        kept = b"nothing"
        certificate.write_bytes(kept)
    with pytest.raises(AuthorityFault, match="authority"):
        open_authority(tmp_path)
    assert certificate.read_bytes() == kept


def test_a_missing_authority_is_not_made_anew_under_enrolled_machines(tmp_path):
    with pytest.raises(AuthorityFault, match="Bring the directory back"):
        open_authority(tmp_path, may_create=lambda: False)
    assert not (tmp_path / "authority").exists()


def test_a_crash_before_the_certificate_leaves_no_authority(tmp_path, monkeypatch):
    def crash(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(authority_module, "authority_certificate", crash)
    with pytest.raises(KeyboardInterrupt):
        open_authority(tmp_path)
    monkeypatch.undo()
    assert open_authority(tmp_path).certificate


def test_mutual_tls_works_with_what_it_signed(tmp_path):
    authority = open_authority(tmp_path)
    identity, key = authority.gateway_identity(), rsa_key("identity")
    machine = authority.issue_machine("an-id", key.public_key())
    (tmp_path / "machine.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "machine.pem").write_bytes(machine.public_bytes(Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    server.load_cert_chain(identity.certificate_path, identity.key_path)
    server.load_verify_locations(cadata=authority.der)
    server.verify_mode = ssl.CERT_REQUIRED
    client = ssl.create_default_context(cadata=authority.der)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_cert_chain(tmp_path / "machine.pem", tmp_path / "machine.key")
    left, right = socket.socketpair()
    served = {}

    def serve():
        with server.wrap_socket(right, server_side=True) as connection:
            served["certificate"] = connection.getpeercert(binary_form=True)
            connection.sendall(connection.recv(5))

    thread = Thread(target=serve)
    thread.start()
    with client.wrap_socket(left, server_hostname=GATEWAY_NAME) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
    thread.join(10)
    assert served["certificate"] == machine.public_bytes(Encoding.DER)
