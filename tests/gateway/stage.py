"""Who the gateway's tests are about: tenants, vaults, machines with real certificates. Keys are made once per run."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from agents.keys.rsa import PrivateKey, load_private
from agents.keys.vault_record import sign_vault_record
from backup_platform.fleet.models import Machine
from backup_platform.fleet.services import authority
from backup_platform.fleet.tokens import create_token
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault
from protocol.stored.enrollment_blobs import EnrollmentBlob

BLOB = EnrollmentBlob(bytes(12), b"sealed", bytes(16)).encode()


@cache
def rsa_key(label: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


@cache
def signing_key(label: str) -> PrivateKey:
    """The same key as the agent's code holds it."""
    der = rsa_key(label).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return load_private(der)


def spki(label: str) -> bytes:
    return rsa_key(label).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def make_csr(label: str) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "machine")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(rsa_key(label), hashes.SHA256())
    return request.public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Identity:
    """A machine's row, and the files that TLS wants."""

    row: Machine
    key_label: str
    certificate: Path
    key: Path

    @property
    def id(self) -> UUID:
        return self.row.pk


@dataclass
class Stage:
    """Makes people and machines; `vault` is the first tenant's."""

    directory: Path
    vaults: dict[str, Vault] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir()
        self.vault = self.make_vault("north")

    def make_vault(self, tenant: str) -> Vault:
        vault_id = uuid4()
        record = sign_vault_record(
            signing_key("signing"),
            number=1,
            vault_id=vault_id.bytes,
            epoch=1,
            opening_key=signing_key("opening").public,
        )
        with without_tenant_scope("the stage is set"):
            self.vaults[tenant] = Vault.objects.create(
                id=vault_id,
                number=int.from_bytes(os.urandom(6), "big"),  # the chunk tables outlive a test
                tenant=Tenant.objects.create(name=tenant),
                name="main",
                record=record,
                record_number=1,
                signing_key_hash=signing_key("signing").public.key_hash,
            )
        return self.vaults[tenant]

    def machine(self, name: str = "alpha", *, vault: Vault | None = None, write_only: bool = False) -> Identity:
        """An enrolled machine whose keys are named after it."""
        vault, label = vault or self.vault, f"identity-{name}"
        machine_id = uuid4()
        certificate = authority().issue_machine(str(machine_id), rsa_key(label).public_key())
        with tenant_scope(vault.tenant_id):
            row = Machine.objects.create(
                id=machine_id,
                tenant_id=vault.tenant_id,
                vault=vault,
                name=name,
                identity_hash=hashlib.sha256(spki(label)).digest(),
                identity_key=spki(label),
                reading_key=spki("reading"),
                certificate=certificate.public_bytes(Encoding.DER),
                certificate_until=certificate.not_valid_after_utc,
                write_only=write_only,
                record=b"machine record of " + name.encode(),
            )
        return self.files(row, label, certificate)

    def files(self, row: Machine | None, label: str, certificate: x509.Certificate) -> Identity:
        """Certificate and key as files; they need not belong to any machine."""
        folder = self.directory / os.urandom(4).hex()
        folder.mkdir()
        (folder / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        key = rsa_key(label).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / "key.pem").write_bytes(key)
        return Identity(row, label, folder / "certificate.pem", folder / "key.pem")

    def token(self, **options) -> bytes:
        token = os.urandom(32)
        create_token(self.vault, token, BLOB, actor="tests", **options)
        return token
