"""Vault records, the wrapped dedup secret and the proof of the kit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.errors import ExitCode
from agents.keys.faults import KeyFault, SignatureFault, VaultRecordFault
from agents.keys.kit_proof import kit_proof_message, sign_kit_proof, verify_kit_proof
from agents.keys.rsa import ROOT_LABEL
from agents.keys.vault_record import open_vault_record, sign_vault_record
from agents.keys.wrapped_secret import unwrap_secret, wrap_secret
from protocol.stored.vault_records import (
    Recipient,
    SignedVaultRecord,
    VaultRecordBody,
    decode_vault_record,
    encode_vault_body,
)
from protocol.stored.wrapped_secrets import WrappedSecret
from tests.keys.material import private_key

VAULT, OTHER_VAULT = b"v" * 16, b"w" * 16
OPENING, SIGNING = "opening", "signing"


def record(number: int = 3, signing: str = SIGNING, **changes: object) -> bytes:
    values = {"vault_id": VAULT, "epoch": 1, "opening_key": private_key(OPENING).public, "created_at": 5}
    return sign_vault_record(private_key(signing), number=number, **(values | changes))


def pin(name: str = SIGNING) -> bytes:
    return private_key(name).public.key_hash


def test_a_record_says_who_the_recipients_are() -> None:
    auditor, reading = private_key("auditor").public, private_key("reading").public
    opened = open_vault_record(record(further=[("Auditor", auditor)]), pin(), 3, vault_id=VAULT)
    assert (opened.number, opened.vault_id, opened.epoch, opened.created_at) == (3, VAULT, 1, 5)
    assert [(int(item.kind), item.key, item.name) for item in opened.recipients(reading)] == [
        (1, private_key(OPENING).public, ""),
        (3, auditor, "Auditor"),
        (2, reading, ""),
    ]


def test_a_write_only_machine_is_not_among_the_recipients() -> None:
    assert [int(item.kind) for item in open_vault_record(record(), pin(), 1).recipients(None)] == [1]


def test_a_record_signed_by_another_key_is_refused() -> None:
    with pytest.raises(VaultRecordFault, match="signed by another key") as caught:
        open_vault_record(record(signing="evil"), pin(), 1)
    assert caught.value.exit_code == ExitCode.AUTHENTICATION


def test_a_record_that_names_the_pinned_key_but_is_signed_by_another_is_refused() -> None:
    honest = decode_vault_record(record())
    forged = SignedVaultRecord(honest.body, honest.body_bytes, private_key("evil").sign(honest.signed_bytes()))
    with pytest.raises(VaultRecordFault, match="altered or forged"):
        open_vault_record(forged.encode(), pin(), 1)


def test_a_record_with_an_exchanged_recipient_is_refused() -> None:
    honest = decode_vault_record(record())
    evil = honest.body_bytes.replace(private_key(OPENING).public.spki, private_key("evil").public.spki)
    with pytest.raises(VaultRecordFault, match="altered or forged"):
        open_vault_record(SignedVaultRecord(honest.body, evil, honest.signature).encode(), pin(), 1)


def test_an_older_record_than_one_already_seen_is_refused() -> None:
    assert open_vault_record(record(3), pin(), 3).number == 3
    with pytest.raises(VaultRecordFault, match="record 4 has been seen already"):
        open_vault_record(record(3), pin(), 4)


def test_another_vaults_record_is_refused() -> None:
    with pytest.raises(VaultRecordFault, match="another vault"):
        open_vault_record(record(), pin(), 1, vault_id=OTHER_VAULT)


def test_one_key_for_opening_and_signing_is_refused() -> None:
    with pytest.raises(VaultRecordFault, match="must differ"):
        record(opening_key=private_key(SIGNING).public)
    body = body_of(opening_key=private_key(SIGNING).public.spki)
    with pytest.raises(VaultRecordFault, match="one key for opening and for signing"):
        open_vault_record(signed(body), pin(), 1)


def body_of(**changes: object) -> VaultRecordBody:
    public = private_key(OPENING).public.spki, private_key(SIGNING).public.spki
    values = {"number": 1, "vault_id": VAULT, "epoch": 1, "opening_key": public[0], "signing_key": public[1]}
    return VaultRecordBody(**(values | changes))


def signed(body: VaultRecordBody) -> bytes:
    unsigned = SignedVaultRecord(body, encode_vault_body(body), b"")
    return SignedVaultRecord(body, unsigned.body_bytes, private_key(SIGNING).sign(unsigned.signed_bytes())).encode()


def test_a_recipient_that_is_not_understood_is_refused_and_not_left_out() -> None:
    body = body_of(recipients=[Recipient("Later", 2, private_key("auditor").public.spki)])
    with pytest.raises(VaultRecordFault, match="algorithm 2"):
        open_vault_record(signed(body), pin(), 1)


def test_a_recipient_with_a_bad_key_is_refused_by_its_fault() -> None:
    body = body_of(recipients=[Recipient("Broken", 1, private_key("auditor").public.spki[:-5])])
    with pytest.raises(VaultRecordFault, match="truncated"):
        open_vault_record(signed(body), pin(), 1)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_record_with_any_byte_changed_is_refused(position: int, flip: int) -> None:
    damaged = bytearray(RECORD)
    damaged[position % len(damaged)] ^= flip
    with pytest.raises(VaultRecordFault):
        open_vault_record(bytes(damaged), pin(), 1)


RECORD = record()


def test_the_wrapped_secret_opens_with_its_key_only() -> None:
    wrapped = wrap_secret(b"s" * 32, vault_id=VAULT, epoch=7, recipient=private_key(OPENING).public)
    assert unwrap_secret(wrapped, private_key(OPENING), vault_id=VAULT) == (7, b"s" * 32)
    with pytest.raises(KeyFault, match="another key"):
        unwrap_secret(wrapped, private_key(SIGNING), vault_id=VAULT)
    with pytest.raises(KeyFault, match="another vault"):
        unwrap_secret(wrapped, private_key(OPENING), vault_id=OTHER_VAULT)
    with pytest.raises(KeyFault, match="damaged"):
        unwrap_secret(wrapped[:-1], private_key(OPENING), vault_id=VAULT)
    assert b"s" * 32 not in wrapped


def test_a_root_key_is_not_taken_for_a_dedup_secret() -> None:
    key = private_key(OPENING)
    posing = WrappedSecret(VAULT, 1, key.public.key_hash, key.public.wrap(b"s" * 32, ROOT_LABEL)).encode()
    with pytest.raises(KeyFault):
        unwrap_secret(posing, key, vault_id=VAULT)


def test_a_dedup_secret_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wrap_secret(b"s" * 31, vault_id=VAULT, epoch=1, recipient=private_key(OPENING).public)


PROOF = {"nonce": b"n" * 32, "certificate_hash": b"c" * 32, "caller_machine_id": b"m" * 16, "scope": b"s" * 16}


def test_a_kit_proof_holds_for_exactly_its_values() -> None:
    proof = sign_kit_proof(private_key(SIGNING), **PROOF)
    verify_kit_proof(private_key(SIGNING).public, proof, **PROOF)
    for name, value in PROOF.items():
        with pytest.raises(SignatureFault):
            verify_kit_proof(private_key(SIGNING).public, proof, **(PROOF | {name: value[:-1] + b"!"}))
    with pytest.raises(SignatureFault):
        verify_kit_proof(private_key(OPENING).public, proof, **PROOF)


def test_a_kit_proof_binds_no_part_of_another_length() -> None:
    assert kit_proof_message(**PROOF) == b"strongroom/v1/kit-proof\0" + b"n" * 32 + b"c" * 32 + b"m" * 16 + b"s" * 16
    for name, value in PROOF.items():
        with pytest.raises(ValueError, match="kit proof"):
            kit_proof_message(**(PROOF | {name: value + b"!"}))
