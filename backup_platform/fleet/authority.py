"""The platform's own certificate authority: files under STRONGROOM_HOME/authority, made at first use.

`ca.key` (0600) and `ca.pem` are the authority, ten years; `gateway.key` (0600) and `gateway.pem` the gateway's, one
year, renewed when less than thirty days are left. Agents pin the authority's SHA-256, so losing `ca.key` means
enrolling every machine again: back the directory up.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from .certificates import (
    GATEWAY_RENEWAL,
    PublicKey,
    SigningKey,
    authority_certificate,
    gateway_certificate,
    machine_certificate,
)
from .errors import AuthorityFault


@dataclass(frozen=True)
class GatewayIdentity:
    """Where a gateway's TLS files are."""

    key_path: Path
    certificate_path: Path


@dataclass(frozen=True)
class CertificateAuthority:
    """The authority of one installation. Its key never leaves this object."""

    directory: Path
    certificate: x509.Certificate
    _key: SigningKey

    def __repr__(self) -> str:
        return f"CertificateAuthority({self.fingerprint.hex()})"

    @property
    def der(self) -> bytes:
        """The authority's certificate, as agents get it."""
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate (DER): what enrolment strings carry and agents pin."""
        return self.certificate.fingerprint(SHA256())

    def issue_machine(self, machine_id: str, key: PublicKey) -> x509.Certificate:
        """A certificate for a machine's identity key."""
        return machine_certificate(machine_id, key, self.certificate, self._key)

    def gateway_identity(self) -> GatewayIdentity:
        """The gateway's key and certificate, made or renewed when that is due."""
        identity = GatewayIdentity(self.directory / "gateway.key", self.directory / "gateway.pem")
        with _locked(self.directory):
            if self._needs_renewal(identity):
                key = ec.generate_private_key(ec.SECP256R1())
                certificate = gateway_certificate(key.public_key(), self.certificate, self._key)
                # A crash between the two leaves a pair that does not match, which the check above finds.
                _write_private(identity.key_path, _private_pem(key))
                _write_private(identity.certificate_path, certificate.public_bytes(Encoding.PEM))
        return identity

    def _needs_renewal(self, identity: GatewayIdentity) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(identity.certificate_path.read_bytes())
            key = load_pem_private_key(identity.key_path.read_bytes(), None)
            certificate.verify_directly_issued_by(self.certificate)
        except FileNotFoundError:
            return True
        except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one is as good
            return True
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        return left < GATEWAY_RENEWAL or _spki(certificate.public_key()) != _spki(key.public_key())


def open_authority(home: Path, *, may_create: Callable[[], bool] = lambda: True) -> CertificateAuthority:
    """The authority under `home`; a new one when there is none and `may_create` agrees.

    Raises `AuthorityFault` for files that are damaged, incomplete, or missing where they must not be.
    """
    directory = home / "authority"
    if not (directory / "ca.pem").exists() and not may_create():
        raise AuthorityFault(
            f"The certificate authority in {directory} is missing, but machines were enrolled with it. "
            "Bring the directory back from a copy; a new authority would shut every machine out."
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(directory):
        if not (directory / "ca.pem").exists():
            _create(directory)
        return _load(directory)


def _create(directory: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # The certificate last: only with it does the authority exist, so a crash here leaves nothing half made.
    _write_private(directory / "ca.key", _private_pem(key))
    _write_private(directory / "ca.pem", authority_certificate(key).public_bytes(Encoding.PEM))


def _load(directory: Path) -> CertificateAuthority:
    try:
        certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
    except (OSError, ValueError, TypeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "its content is damaged"
        raise AuthorityFault(f"The certificate authority in {directory} cannot be read: {reason}.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or _spki(key.public_key()) != _spki(certificate.public_key()):
        raise AuthorityFault(f"The key and the certificate of the authority in {directory} do not belong together.")
    return CertificateAuthority(directory, certificate, key)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time makes or renews files here: web, gateway and commands may all come first."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only, durable when this returns."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _private_pem(key: SigningKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _spki(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]
