"""Keys are made once per run: RSA-3072 takes a fifth of a second each."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from functools import cache
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from backup_platform.fleet.tokens import create_token
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault
from protocol.stored.enrollment_blobs import EnrollmentBlob

BLOB = EnrollmentBlob(bytes(12), b"sealed", bytes(16)).encode()


@cache
def rsa_key(label: str, bits: int = 3072, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def spki(key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def make_csr(key, algorithm=None) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "machine")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, algorithm or hashes.SHA256())
    return request.public_bytes(Encoding.DER)


@pytest.fixture(scope="session")
def identity():
    return rsa_key("identity")


@pytest.fixture(scope="session")
def reading():
    return rsa_key("reading")


def make_vault(name: str) -> Vault:
    with without_tenant_scope("test data"):
        tenant = Tenant.objects.create(name=name)
        return Vault.objects.create(
            id=uuid4(), number=Vault.objects.count() + 1, tenant=tenant, name="main",
            record=b"", record_number=1, signing_key_hash=bytes(32),
        )  # fmt: skip


@pytest.fixture
def vault(db, strongroom_home) -> Vault:
    return make_vault("acme")


def make_token(vault: Vault, **options) -> bytes:
    token = os.urandom(32)
    create_token(vault, token, BLOB, actor="tests", **options)
    return token


def expire(vault: Vault, token: bytes) -> None:
    from django.utils import timezone

    from backup_platform.fleet.models import EnrollmentToken

    with tenant_scope(vault.tenant_id):
        EnrollmentToken.objects.filter(token_hash=hashlib.sha256(token).digest()).update(
            expires_at=timezone.now() - timedelta(seconds=1)
        )
