"""Reading a vault's registration: what `strongroom vault create` writes for the platform, every claim of it checked.

`vault-registration.json` is `{"record": base64, "wrapped_secrets": [base64, …]}`. Nothing in it is secret, and nothing
in it is believed: the record must be signed by the signing key that it names, and each wrapped secret must be for a
key that the record names.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from backup_platform.vaults.errors import RegistrationRefused
from backup_platform.vaults.public_keys import (
    VAULT_KEY_BITS,
    PublicKeyRefused,
    check_public_key,
    key_hash,
    signature_matches,
)
from protocol.stored.errors import FormatError
from protocol.stored.vault_records import SignedVaultRecord, decode_vault_record
from protocol.stored.wrapped_secrets import WrappedSecret, decode_wrapped_secret

MAX_REGISTRATION = 2 * 1024 * 1024
MAX_WRAPPED_SECRETS = 64


@dataclass(frozen=True)
class Registration:
    """A checked registration: the record as stored, read, and the wrapped secrets with their bytes."""

    record: bytes
    signed: SignedVaultRecord
    wrapped_secrets: list[tuple[WrappedSecret, bytes]]

    @property
    def vault_id(self) -> UUID:
        """The vault's id, chosen by whoever made the keys."""
        return UUID(bytes=self.signed.body.vault_id)

    @property
    def signing_key_hash(self) -> bytes:
        """SHA-256 of the signing key: what agents get from the kit and never from the platform."""
        return key_hash(self.signed.body.signing_key)


def read_registration(text: bytes | str) -> Registration:
    """A registration file, checked. Raises `RegistrationRefused`."""
    if len(text) > MAX_REGISTRATION:
        raise RegistrationRefused(f"The registration is over {MAX_REGISTRATION} bytes; a real one has a few thousand.")
    try:
        fields = json.loads(text)
        record = _bytes(fields["record"])
        wrapped = [_bytes(item) for item in fields["wrapped_secrets"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RegistrationRefused(
            "The file is not a vault registration. Give the vault-registration.json that "
            "`strongroom vault create` wrote into the kit's directory."
        ) from None
    return check_registration(record, wrapped)


def check_registration(record: bytes, wrapped_secrets: list[bytes]) -> Registration:
    """Check a vault record and its wrapped secrets. Raises `RegistrationRefused` naming the first fault."""
    try:
        signed = decode_vault_record(record)
        _check_keys(signed)
        secrets = [(decode_wrapped_secret(data), data) for data in wrapped_secrets]
    except (FormatError, PublicKeyRefused) as fault:
        raise RegistrationRefused(f"The vault's registration is not sound: {fault}") from None
    _check_secrets(signed, [secret for secret, _ in secrets])
    return Registration(record, signed, secrets)


def _check_keys(signed: SignedVaultRecord) -> None:
    body = signed.body
    check_public_key(body.opening_key, VAULT_KEY_BITS, "The opening key")
    check_public_key(body.signing_key, VAULT_KEY_BITS, "The signing key")
    for recipient in body.recipients:
        check_public_key(recipient.key, VAULT_KEY_BITS, "A further recipient's key")
    if body.opening_key == body.signing_key:
        raise RegistrationRefused("The vault's opening key and signing key are the same: a key has one use.")
    if not signature_matches(body.signing_key, signed.signed_bytes(), signed.signature):
        raise RegistrationRefused("The vault record is not signed by its own signing key; make the vault again.")


def _check_secrets(signed: SignedVaultRecord, secrets: list[WrappedSecret]) -> None:
    body = signed.body
    known = {key_hash(body.opening_key), *(key_hash(recipient.key) for recipient in body.recipients)}
    if not 1 <= len(secrets) <= MAX_WRAPPED_SECRETS:
        raise RegistrationRefused(f"A registration has 1 to {MAX_WRAPPED_SECRETS} wrapped secrets, not {len(secrets)}.")
    if any(secret.vault_id != body.vault_id or secret.epoch != body.epoch for secret in secrets):
        raise RegistrationRefused("A wrapped secret belongs to another vault or epoch than the record.")
    if any(secret.key_hash not in known for secret in secrets):
        raise RegistrationRefused("A wrapped secret is for a key that the vault record does not name.")
    if key_hash(body.opening_key) not in {secret.key_hash for secret in secrets}:
        raise RegistrationRefused(
            "The dedup secret is not wrapped to the vault's opening key: it could not be restored."
        )
    if len({secret.key_hash for secret in secrets}) != len(secrets):
        raise RegistrationRefused("The registration has two wrapped secrets for one key.")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as fault:
        raise ValueError from fault
