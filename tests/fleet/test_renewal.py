"""Renewal: new dates for the same key, and for no other."""

from __future__ import annotations

import hashlib

import pytest
from cryptography import x509

from backup_platform.audit.models import Entry
from backup_platform.fleet.errors import CsrRefused
from backup_platform.fleet.models import Machine
from backup_platform.fleet.renewal import renew_certificate
from backup_platform.fleet.services import authority, enroll_machine
from backup_platform.tenants.scope import tenant_scope

from .conftest import make_csr, make_token, rsa_key, spki


@pytest.fixture
def machine(vault):
    return enroll_machine(make_token(vault), make_csr(rsa_key("identity")), spki(rsa_key("reading")), {}).machine


def test_renewed_certificate_is_over_the_same_key_and_later(machine):
    before = x509.load_der_x509_certificate(bytes(machine.certificate))
    der, ca = renew_certificate(machine, make_csr(rsa_key("identity")))
    after = x509.load_der_x509_certificate(der)
    assert ca == authority().der
    assert after.public_key() == before.public_key()
    assert after.serial_number != before.serial_number
    assert after.not_valid_after_utc >= before.not_valid_after_utc
    after.verify_directly_issued_by(authority().certificate)
    with tenant_scope(machine.tenant_id):
        row = Machine.objects.get(pk=machine.pk)
    assert bytes(row.certificate) == der
    assert row.certificate_until == after.not_valid_after_utc
    assert bytes(row.identity_hash) == bytes(machine.identity_hash)


@pytest.mark.defence
def test_certificate_is_renewed_for_the_machines_own_key_only(machine):
    with pytest.raises(CsrRefused, match="own identity key"):
        renew_certificate(machine, make_csr(rsa_key("another")))
    with tenant_scope(machine.tenant_id):
        assert bytes(Machine.objects.get(pk=machine.pk).certificate) == bytes(machine.certificate)


@pytest.mark.parametrize("csr", [b"", b"no request", bytes(10_000)])
def test_request_that_cannot_be_read_is_refused_in_words(machine, csr):
    with pytest.raises(CsrRefused, match="certificate request"):
        renew_certificate(machine, csr)


def test_renewal_is_audited(machine):
    der, _ = renew_certificate(machine, make_csr(rsa_key("identity")))
    with tenant_scope(machine.tenant_id):
        entry = Entry.objects.filter(verb="machine.certificate_renewed").get()
    assert hashlib.sha256(der).hexdigest() in str(entry.detail)
