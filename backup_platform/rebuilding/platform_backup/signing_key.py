"""The platform's signing key: it signs the heads of the platform's own backups, and nothing else.

It lies in the home like other secrets (0600), and goes with each backup, sealed as the authority's keys are, so that a
platform that came back signs on. What the operator keeps beside his own key is its hash: by that, and never by what
lies in a target, he knows a backup of his platform from one that somebody else sealed to him.
"""

from __future__ import annotations

import os
from pathlib import Path

from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss
from cryptography.hazmat.primitives.asymmetric import rsa as openssl_rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.embedded.durable_files import write_private
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.vaults.public_keys import (
    MACHINE_KEY_BITS,
    PUBLIC_EXPONENT,
    SALT_BYTES,
    PublicKeyRefused,
    check_public_key,
    key_hash,
    signature_matches,
)

from .one_at_a_time import alone

SIGNING_KEY = "secrets/platform-signing-key.pem"
BITS = 3072
SIGNER_BITS = MACHINE_KEY_BITS
MAX_FILE = 16 * 1024
WHAT = "The platform's signing key"


class SigningKey:
    """The private key. RebuildRefused when the file holds none that may be used."""

    def __init__(self, pem: bytes) -> None:
        try:
            self._key = RSA.import_key(pem)
            if not self._key.has_private():
                raise PublicKeyRefused(f"{WHAT} is a public one.")
            self.spki = self._key.public_key().export_key(format="DER")
            check_public_key(self.spki, SIGNER_BITS, WHAT)
        except PublicKeyRefused as fault:
            raise RebuildRefused(str(fault)) from None
        except (ValueError, IndexError, TypeError):
            raise RebuildRefused(f"{WHAT} is damaged. {_advice()}") from None
        self.pem = pem
        self.key_hash = key_hash(self.spki)
        """SHA-256 of `spki`: what the operator keeps."""

    def sign(self, message: bytes) -> bytes:
        """The signature over a message that begins with its context; checked, so that no damaged key signs."""
        signature = bytes(pss.new(self._key, salt_bytes=SALT_BYTES).sign(SHA256.new(message)))
        if not signature_matches(self.spki, message, signature):
            raise RebuildRefused(f"{WHAT} is damaged: what it signs does not verify. {_advice()}")
        return signature


def signing_key() -> SigningKey:
    """The key of this platform, made at its first use. RebuildRefused when it cannot be read."""
    found = _read()
    if found is not None:
        return found
    with alone():
        return _read() or _keep(make_pem(), "platform_signing_key.made", "the platform")


def replace_by(pem: bytes, verb: str, actor: str) -> SigningKey:
    """Put another key in the place of this platform's, audited under `verb` with the one before. Within `alone`."""
    return _keep(pem, verb, actor)


def make_pem() -> bytes:
    """A new key, unencrypted PKCS #8. OpenSSL finds the primes, in a fifth of the time (decision 0025)."""
    made = openssl_rsa.generate_private_key(PUBLIC_EXPONENT, BITS)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _keep(pem: bytes, verb: str, actor: str) -> SigningKey:
    key, path = SigningKey(pem), _path()
    record_audit(verb, actor=actor, object="platform_signing_key", key=key.key_hash, before=_former())
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_private(path, pem.decode("ascii"))
    return key


def _former() -> bytes | None:
    """The hash of the key that is there; None for none, and for one that cannot be read any more."""
    try:
        found = _read()
    except RebuildRefused:
        return None
    return found.key_hash if found else None


def _read() -> SigningKey | None:
    try:
        with _path().open("rb") as file:
            return SigningKey(file.read(MAX_FILE))
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise RebuildRefused(f"{WHAT} {_path()} cannot be read: {os.strerror(fault.errno or 0)}.") from None


def _path() -> Path:
    return stores.home() / SIGNING_KEY


def _advice() -> str:
    return "Put the file back from a copy, or make another with `platform_signing_key --replace --out FILE`."
