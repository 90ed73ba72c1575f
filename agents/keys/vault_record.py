"""Vault records: who a vault's snapshots are sealed to. Signed by the vault's signing key, checked before any use.

An agent knows the hash of the signing key from its enrolment secret, never from the server. It refuses a record number
lower than one that it has seen, so that an old record cannot bring back a recipient who was removed.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from agents.keys.derive import Use, derive
from agents.keys.faults import KeyFault, SignatureFault, VaultRecordFault
from agents.keys.rsa import PrivateKey, PublicKey, load_public
from protocol.stored.errors import FormatError
from protocol.stored.recipients import RecipientKind
from protocol.stored.vault_records import (
    Recipient,
    SignedVaultRecord,
    VaultRecordBody,
    decode_vault_record,
    encode_vault_body,
)

RSA_OAEP = 1
"""The algorithm number of recipients that roots are wrapped to with RSA-OAEP-SHA256."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """A public key that roots are sealed to; ``kind`` as in recipient records (1 vault, 2 machine, 3 further)."""

    kind: RecipientKind
    key: PublicKey
    name: str = ""


@dataclass(frozen=True, slots=True)
class VaultRecord:
    """A vault record that verified. ``created_at`` in microseconds since the epoch, by the maker's clock."""

    number: int
    vault_id: bytes
    epoch: int
    opening_key: PublicKey
    signing_key: PublicKey
    further: tuple[NamedKey, ...]
    created_at: int
    secret_commitment: bytes = b""

    def check_secret(self, dedup_secret: bytes) -> None:
        """Return when this may be the vault's dedup secret; VaultRecordFault when the record commits to another."""
        commitment = derive(dedup_secret, Use.DEDUP_COMMITMENT)
        if self.secret_commitment and not hmac.compare_digest(commitment, self.secret_commitment):
            raise VaultRecordFault("The dedup secret is not the one that the vault record commits to.")

    def recipients(self, reading_key: PublicKey | None) -> list[NamedKey]:
        """Return whom a root is sealed to. ``reading_key`` is the machine's own, None for a write-only machine."""
        own = [] if reading_key is None else [NamedKey(RecipientKind.MACHINE, reading_key)]
        return [NamedKey(RecipientKind.VAULT, self.opening_key), *self.further, *own]


def sign_vault_record(
    signing: PrivateKey,
    *,
    number: int,
    vault_id: bytes,
    epoch: int,
    opening_key: PublicKey,
    further: Sequence[tuple[str, PublicKey]] = (),
    created_at: int | None = None,
    dedup_secret: bytes | None = None,
) -> bytes:
    """Return the signed vault record that names ``opening_key`` and every further (name, key) as a recipient.

    With ``dedup_secret`` (the vault's, of ``epoch``) it commits to it, so that no other can be passed off as that.
    """
    if opening_key == signing.public:
        raise VaultRecordFault("A vault's opening and signing keys must differ: a key has one use.")
    body = VaultRecordBody(
        number=number,
        vault_id=vault_id,
        epoch=epoch,
        opening_key=opening_key.spki,
        signing_key=signing.public.spki,
        recipients=[Recipient(name, RSA_OAEP, key.spki) for name, key in further],
        created_at=time.time_ns() // 1000 if created_at is None else created_at,
        secret_commitment=msgspec.UNSET if dedup_secret is None else derive(dedup_secret, Use.DEDUP_COMMITMENT),
    )
    unsigned = SignedVaultRecord(body, encode_vault_body(body), b"")
    return SignedVaultRecord(body, unsigned.body_bytes, signing.sign(unsigned.signed_bytes())).encode()


def open_vault_record(
    data: bytes, signing_key_hash: bytes, lowest_number: int, *, vault_id: bytes | None = None
) -> VaultRecord:
    """Return the record when it verifies under the signing key whose SHA-256 is ``signing_key_hash``.

    VaultRecordFault, with the fault named, when it is damaged, signed by another key, of another vault (where
    ``vault_id`` is given), numbered lower than ``lowest_number``, or names a recipient that cannot be sealed to.
    """
    try:
        signed = decode_vault_record(data)
        signing_key = load_public(signed.body.signing_key)
        if signing_key.key_hash != signing_key_hash:
            raise VaultRecordFault("The vault record is signed by another key than the one this machine was given.")
        signing_key.verify(signed.signed_bytes(), signed.signature)
        record = _record(signed.body, signing_key)
    except FormatError as fault:
        raise VaultRecordFault(f"The vault record is damaged: {fault.why}.") from None
    except SignatureFault:
        raise VaultRecordFault("The vault record's signature does not match: it was altered or forged.") from None
    except KeyFault as fault:
        raise VaultRecordFault(f"A key in the vault record cannot be used: {fault.what}") from None
    _check_place(record, lowest_number, vault_id)
    return record


def _check_place(record: VaultRecord, lowest_number: int, vault_id: bytes | None) -> None:
    if vault_id is not None and record.vault_id != vault_id:
        raise VaultRecordFault("The vault record belongs to another vault.")
    if record.number < lowest_number:
        raise VaultRecordFault(
            f"The server gave vault record {record.number}, but record {lowest_number} has been seen already: "
            "an old record could bring back a recipient who was removed."
        )


def _record(body: VaultRecordBody, signing_key: PublicKey) -> VaultRecord:
    opening_key = load_public(body.opening_key)
    if opening_key == signing_key:
        raise VaultRecordFault("The vault record names one key for opening and for signing, which is refused.")
    return VaultRecord(
        number=body.number,
        vault_id=body.vault_id,
        epoch=body.epoch,
        opening_key=opening_key,
        signing_key=signing_key,
        further=tuple(_further(recipient) for recipient in body.recipients),
        created_at=body.created_at,
        secret_commitment=b"" if body.secret_commitment is msgspec.UNSET else body.secret_commitment,
    )


def _further(recipient: Recipient) -> NamedKey:
    """Leaving out a recipient that is not understood would silently take a right away, so it is refused."""
    if recipient.algorithm != RSA_OAEP:
        raise VaultRecordFault(
            f"The vault record names a recipient with algorithm {recipient.algorithm}, unknown to this version.",
            "Update the agent.",
        )
    return NamedKey(RecipientKind.FURTHER, load_public(recipient.key), recipient.name)
