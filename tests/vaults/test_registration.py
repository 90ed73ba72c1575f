"""Registering a vault: everything it claims is checked, and what is kept is what was signed."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss

from backup_platform.audit.models import Entry
from backup_platform.catalog.stores import local_target
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.errors import RegistrationRefused
from backup_platform.vaults.models import Vault, WrappedSecret
from backup_platform.vaults.proofs import KIT_PROOF_CONTEXT, verify_kit_proof
from backup_platform.vaults.public_keys import key_hash
from backup_platform.vaults.registration import check_registration, read_registration
from backup_platform.vaults.services import add_vault
from protocol.stored.vault_records import Recipient, SignedVaultRecord, VaultRecordBody, encode_vault_body
from protocol.stored.wrapped_secrets import WrappedSecret as WrappedSecretObject


@pytest.fixture(scope="session")
def keys() -> dict[str, RSA.RsaKey]:
    # 2048 bits are allowed for imported vault keys, and quick to make.
    return {name: RSA.generate(2048) for name in ("opening", "signing", "other")}


def spki(key: RSA.RsaKey) -> bytes:
    return key.public_key().export_key(format="DER")


def sign(key: RSA.RsaKey, message: bytes, salt: int = 32) -> bytes:
    return pss.new(key, salt_bytes=salt).sign(SHA256.new(message))


def body_of(keys, **changes) -> VaultRecordBody:
    body = VaultRecordBody(
        number=1, vault_id=os.urandom(16), epoch=1, opening_key=spki(keys["opening"]), signing_key=spki(keys["signing"])
    )
    return msgspec.structs.replace(body, **changes)


def record_of(body: VaultRecordBody, signer: RSA.RsaKey) -> bytes:
    unsigned = SignedVaultRecord(body, encode_vault_body(body), b"")
    return replace(unsigned, signature=sign(signer, unsigned.signed_bytes())).encode()


def secret_of(body: VaultRecordBody, **changes) -> bytes:
    secret = WrappedSecretObject(body.vault_id, body.epoch, key_hash(body.opening_key), b"w" * 256)
    return replace(secret, **changes).encode()


@pytest.fixture
def registration(keys):
    body = body_of(keys)
    return check_registration(record_of(body, keys["signing"]), [secret_of(body)])


@pytest.fixture
def tenant(db, strongroom_home) -> Tenant:
    with without_tenant_scope("test data"):
        return Tenant.objects.create(name="acme")


def test_a_sound_vault_is_kept_in_rows_store_and_audit(tenant, registration):
    vault = add_vault(tenant, registration, name="main", actor="tests")
    with tenant_scope(tenant):
        kept = Vault.objects.get()
        assert (kept.pk, kept.name, kept.operator_made, kept.record_number) == (vault.pk, "main", False, 1)
        assert bytes(kept.signing_key_hash) == registration.signing_key_hash
        assert bytes(WrappedSecret.objects.get().data) == registration.wrapped_secrets[0][1]
        store, folder = local_target(), f"{tenant.pk.hex}/{vault.pk.hex}"
        names = sorted(store.list(folder))
        assert [name.split("/")[2] for name in names] == ["secrets", "vault-records"]
        assert store.get(names[1]) == registration.record
        assert Entry.objects.get().verb == "vault.added"


def test_numbers_grow_and_are_never_shared(tenant, keys):
    numbers = []
    for name in ("one", "two", "three"):
        body = body_of(keys)
        sound = check_registration(record_of(body, keys["signing"]), [secret_of(body)])
        numbers.append(add_vault(tenant, sound, name=name).number)
    assert numbers == [1, 2, 3]


def test_a_vault_is_registered_once_and_names_are_unique(tenant, registration, keys):
    add_vault(tenant, registration, name="main")
    with pytest.raises(RegistrationRefused, match="registered already"):
        add_vault(tenant, registration, name="again")
    body = body_of(keys)
    other = check_registration(record_of(body, keys["signing"]), [secret_of(body)])
    with pytest.raises(RegistrationRefused, match="named 'main'"):
        add_vault(tenant, other, name="main")
    with tenant_scope(tenant):
        assert Entry.objects.count() == 1


def faults(keys):
    body = body_of(keys)
    sound = record_of(body, keys["signing"])
    secret = secret_of(body)
    same = body_of(keys, opening_key=spki(keys["signing"]))
    small = body_of(keys, recipients=[Recipient("auditor", 1, spki(RSA.generate(1024)))])  # noqa: S505 - refused is what it shall be
    torn = bytearray(sound)
    torn[60] ^= 1
    return {
        "signed by somebody else": (record_of(body, keys["other"]), [secret], "not signed by its own"),
        "changed": (bytes(torn), [secret], "not sound|not signed"),
        "cut": (sound[:-1], [secret], "not sound"),
        "one key for both": (record_of(same, keys["signing"]), [secret_of(same)], "one use"),
        "small recipient": (record_of(small, keys["signing"]), [secret_of(small)], "1024 bits"),
        "no secret": (sound, [], "1 to 64"),
        "secret of another vault": (sound, [secret_of(body, vault_id=bytes(16))], "another vault"),
        "secret of another epoch": (sound, [secret_of(body, epoch=2)], "another vault or epoch"),
        "secret for a stranger": (sound, [secret, secret_of(body, key_hash=bytes(32))], "does not name"),
        "secret twice": (sound, [secret, secret], "two wrapped secrets"),
    }


@pytest.mark.parametrize("case", range(10))
def test_an_unsound_registration_is_refused_by_name(keys, case):
    _, (record, secrets, why) = list(faults(keys).items())[case]
    with pytest.raises(RegistrationRefused, match=why):
        check_registration(record, secrets)


def test_a_registration_file_is_read(keys, registration):
    text = json.dumps(
        {
            "record": base64.b64encode(registration.record).decode(),
            "wrapped_secrets": [base64.b64encode(data).decode() for _, data in registration.wrapped_secrets],
        }
    )
    assert read_registration(text) == registration
    assert isinstance(registration.vault_id, UUID)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"record": "!", "wrapped_secrets": []}', "[" * 9999, "x" * 3_000_000]
)
def test_anything_else_is_no_registration(text):
    with pytest.raises(RegistrationRefused):
        read_registration(text)


def test_the_kits_proof_holds_for_this_connection_only(keys):
    parts = {"nonce": b"n" * 32, "certificate_hash": b"c" * 32, "caller": b"m" * 16, "scope": b"s" * 16}
    signature = sign(keys["signing"], KIT_PROOF_CONTEXT + b"".join(parts.values()))
    public = spki(keys["signing"])
    assert verify_kit_proof(public, **parts, signature=signature)
    for name, value in parts.items():
        assert not verify_kit_proof(public, **parts | {name: bytes(len(value))}, signature=signature)
    assert not verify_kit_proof(spki(keys["opening"]), **parts, signature=signature)
    assert not verify_kit_proof(public, **parts, signature=b"")
    moved = parts | {"nonce": b"n" * 31, "certificate_hash": b"n" + b"c" * 32}
    assert not verify_kit_proof(public, **moved, signature=signature)
    short_salt = sign(keys["signing"], KIT_PROOF_CONTEXT + b"".join(parts.values()), salt=20)
    assert not verify_kit_proof(public, **parts, signature=short_salt)
