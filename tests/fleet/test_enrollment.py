"""Enrolment: one use is one machine, a refusal costs nothing and teaches nothing."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from threading import Barrier, Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection

from backup_platform.audit.models import Entry
from backup_platform.fleet.errors import CsrRefused, TokenRefused
from backup_platform.fleet.models import EnrollmentToken, Machine
from backup_platform.fleet.services import enroll_machine
from backup_platform.fleet.tokens import create_token, forget_expired_blobs, withdraw_token
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.fleet.conftest import BLOB, expire, make_csr, make_token, make_vault, rsa_key, spki

FACTS = {"hostname": "db01", "os": "Debian 12"}


def enroll(token, key=None, facts=None):
    return enroll_machine(token, make_csr(key or rsa_key("identity")), spki(rsa_key("reading")), facts or FACTS)


def token_row(vault):
    with tenant_scope(vault.tenant_id):
        return EnrollmentToken.objects.get()


def test_a_good_token_makes_a_machine(vault, identity, reading):
    enrolled = enroll(make_token(vault, write_only=True))
    machine = enrolled.machine
    assert (machine.name, machine.tenant_id, machine.vault_id) == ("db01", vault.tenant_id, vault.pk)
    assert machine.write_only
    assert bytes(machine.identity_hash) == hashlib.sha256(spki(identity)).digest()
    assert bytes(machine.reading_key) == spki(reading)
    assert enrolled.blob == BLOB
    leaf, ca = x509.load_der_x509_certificate(enrolled.certificate), x509.load_der_x509_certificate(enrolled.ca)
    leaf.verify_directly_issued_by(ca)
    assert leaf.subject.rfc4514_string() == f"CN={machine.pk}"


def test_the_last_use_empties_the_blob_and_earlier_ones_do_not(vault):
    token = make_token(vault, uses=2)
    enroll(token)
    assert bytes(token_row(vault).blob) == BLOB
    enroll(token, rsa_key("identity 2"))
    row = token_row(vault)
    assert (bytes(row.blob), row.uses_left) == (b"", 0)


def test_names_get_a_suffix(vault):
    token = make_token(vault, uses=3)
    names = [enroll(token, rsa_key(f"identity {n}")).machine.name for n in (1, 2, 3)]
    assert names == ["db01", "db01-2", "db01-3"]


def test_a_token_may_name_the_machine(vault):
    assert enroll(make_token(vault, machine_name="ledger")).machine.name == "ledger"


def test_unknown_used_up_expired_and_withdrawn_get_the_same_sentence(vault):
    used, late, gone = make_token(vault), make_token(vault), make_token(vault)
    enroll(used)
    expire(vault, late)
    with tenant_scope(vault.tenant_id):
        row = EnrollmentToken.objects.get(token_hash=hashlib.sha256(gone).digest())
    assert withdraw_token(row.pk, vault.tenant_id, actor="tests")
    sentences = set()
    for token in (used, late, gone, os.urandom(32), b"", b"x" * 33):
        with pytest.raises(TokenRefused) as refusal:
            enroll(token, rsa_key("identity 2"))
        sentences.add(str(refusal.value))
    assert len(sentences) == 1


def test_an_outsider_learns_nothing_from_a_bad_request(vault):
    with pytest.raises(TokenRefused):
        enroll_machine(os.urandom(32), b"no csr", b"no key", {})


def weak_csrs():
    return {
        "2048 bits": (rsa_key("small", 2048), spki(rsa_key("reading")), "2048 bits"),
        "exponent 3": (rsa_key("three", 3072, 3), spki(rsa_key("reading")), "exponent"),
        "elliptic curve": (ec.generate_private_key(ec.SECP256R1()), spki(rsa_key("reading")), "RSA"),
        "same key twice": (rsa_key("identity"), spki(rsa_key("identity")), "one use"),
        "small reading key": (rsa_key("identity"), spki(rsa_key("small", 2048)), "reading key has 2048"),
        "trailing bytes": (rsa_key("identity"), spki(rsa_key("reading")) + b"\0", "reading key"),
        "no reading key": (rsa_key("identity"), b"", "reading key"),
    }


@pytest.mark.parametrize("case", weak_csrs())
def test_a_bad_key_is_named_and_costs_no_use(vault, case):
    key, reading_key, why = weak_csrs()[case]
    token = make_token(vault)
    with pytest.raises(CsrRefused, match=why):
        enroll_machine(token, make_csr(key), reading_key, FACTS)
    assert token_row(vault).uses_left == 1
    enroll(token)


def test_a_csr_needs_proof_of_possession(vault):
    csr = bytearray(make_csr(rsa_key("identity")))
    csr[-1] ^= 1
    for bad in (bytes(csr), b"", b"\x30\x03abc", make_csr(rsa_key("identity"), hashes.SHA256()) * 20):
        with pytest.raises(CsrRefused):
            enroll_machine(make_token(vault), bad, spki(rsa_key("reading")), FACTS)


def test_an_enrolled_key_cannot_enrol_again(vault):
    enroll(make_token(vault))
    token = make_token(vault)
    with pytest.raises(CsrRefused, match="enrolled already"):
        enroll(token)
    with tenant_scope(vault.tenant_id):
        assert EnrollmentToken.objects.get(token_hash=hashlib.sha256(token).digest()).uses_left == 1


def test_facts_are_bounded_and_printable(vault):
    facts = {f"k{n}": "v" * 999 for n in range(99)} | {"hostname": "ignored"}
    machine = enroll(make_token(vault), facts={"hostname": "a\x1b[31m\n\0/b", **facts}).machine
    assert machine.name.isprintable()
    assert "/" not in machine.name
    assert len(machine.facts) <= 16
    assert all(len(value) <= 200 and value.isprintable() for value in machine.facts.values())


def test_enrolment_is_audited_without_the_token(vault):
    token = make_token(vault)
    enroll(token)
    with tenant_scope(vault.tenant_id):
        lines = {entry.verb: entry for entry in Entry.objects.all()}
    assert set(lines) == {"enrollment.created", "machine.enrolled"}
    assert token.hex() not in str([entry.detail for entry in lines.values()])


def test_expired_blobs_are_forgotten(vault):
    late, good = make_token(vault), make_token(vault)
    expire(vault, late)
    assert forget_expired_blobs() == 1
    assert forget_expired_blobs() == 0
    with tenant_scope(vault.tenant_id):
        blobs = {bytes(row.token_hash): bytes(row.blob) for row in EnrollmentToken.objects.all()}
    assert blobs == {hashlib.sha256(late).digest(): b"", hashlib.sha256(good).digest(): BLOB}


@pytest.mark.parametrize(
    "options", [{"uses": 0}, {"uses": 10**9}, {"life": timedelta(0)}, {"life": timedelta(days=99)}]
)
def test_tokens_without_bounds_are_refused(vault, options):
    with pytest.raises(ValueError, match="enrolment"):
        create_token(vault, os.urandom(32), BLOB, actor="tests", **options)


@pytest.mark.django_db(transaction=True)
def test_of_two_enrolments_with_a_one_use_token_exactly_one_wins(strongroom_home):
    vault = make_vault("race")
    token, gate, outcomes = make_token(vault), Barrier(4), []

    def run(number):
        csr = make_csr(rsa_key(f"identity {number}"))
        gate.wait(10)
        try:
            outcomes.append(enroll_machine(token, csr, spki(rsa_key("reading")), FACTS).blob)
        except TokenRefused:
            outcomes.append(None)
        finally:
            connection.close()

    for number in range(4):
        rsa_key(f"identity {number}")
    threads = [Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes, key=bool) == [None, None, None, BLOB]
    with without_tenant_scope("test"):
        assert Machine.objects.count() == 1
