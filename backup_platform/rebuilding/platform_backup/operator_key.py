"""The operator's key: its public half lies in the home, and only who has the other one opens a platform's backup."""

from __future__ import annotations

from pathlib import Path

from Crypto.PublicKey import RSA
from Crypto.PublicKey.RSA import RsaKey
from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.embedded.durable_files import write_private
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.vaults.public_keys import VAULT_KEY_BITS, PublicKeyRefused, check_public_key

PUBLIC_KEY = "operator-key.pem"
MAX_FILE = 16 * 1024


def public_key_path() -> Path:
    """Where the public half lies on this host."""
    return stores.home() / PUBLIC_KEY


def install_public_key(pem: bytes, *, actor: str = "the operator") -> str:
    """Keep a public key (PEM) as the operator's; its SHA-256. RebuildRefused when it is none that may be used.

    Audited with the one that was there before: whoever has the private half opens every backup from now on.
    """
    key, key_hash = _checked(pem)
    with transaction.atomic():
        record_audit("operator_key.installed", actor=actor, object="operator_key", key=key_hash, before=_former())
        write_private(public_key_path(), key.public_key().export_key(format="PEM").decode("ascii") + "\n")
    return key_hash.hex()


def _former() -> bytes | None:
    """The hash of the key that is there; None for none, and for one that cannot be read any more."""
    try:
        found = operator_key()
    except RebuildRefused:
        return None
    return found[1] if found else None


def operator_key() -> tuple[RsaKey, bytes] | None:
    """The public key and its hash; None when there is none yet. RebuildRefused when the file is damaged."""
    try:
        with public_key_path().open("rb") as file:
            return _checked(file.read(MAX_FILE))
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise RebuildRefused(f"The operator's key {public_key_path()} cannot be read: {fault.strerror}.") from None


def _checked(pem: bytes) -> tuple[RsaKey, bytes]:
    from backup_platform.vaults.public_keys import key_hash

    try:
        read = RSA.import_key(pem)
        if read.has_private():
            raise PublicKeyRefused("The operator's key is a private one; only its public half may lie here.")
        spki = read.export_key(format="DER")
        return check_public_key(spki, VAULT_KEY_BITS, "The operator's key"), key_hash(spki)
    except PublicKeyRefused as fault:
        raise RebuildRefused(str(fault)) from None
    except (ValueError, IndexError, TypeError):
        raise RebuildRefused("The operator's key is no public key in PEM; make one with create_operator_key.") from None
