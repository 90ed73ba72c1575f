"""Checking what an agent signed: RSA-PSS with SHA-256 and a salt of exactly 32 bytes, under the key it enrolled with.

An X.509 chain proves nothing about a snapshot, so no certificate is looked at here. The server's check keeps rubbish
out of the catalogue; whoever restores checks again with keys of their own.
"""

from __future__ import annotations

from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss

from protocol.stored.statements import Statement

SALT_BYTES = 32
PUBLIC_EXPONENT = 65537
KEY_BITS = (2048, 3072, 4096)


class SignatureRefused(Exception):
    """The signature is not the machine's, or its key is none that may sign. The message says which."""


def check_statement_signature(statement: Statement, identity_key: bytes) -> None:
    """Raise SignatureRefused unless the statement is signed by this key (SubjectPublicKeyInfo, DER)."""
    try:
        key = RSA.import_key(identity_key)
    except (ValueError, IndexError, TypeError):
        raise SignatureRefused("The machine's identity key cannot be read.") from None
    if key.has_private() or key.e != PUBLIC_EXPONENT or key.size_in_bits() not in KEY_BITS:
        raise SignatureRefused("The machine's identity key is not an RSA key that may sign.")
    try:
        pss.new(key, salt_bytes=SALT_BYTES).verify(SHA256.new(statement.signed_bytes()), statement.signature)
    except (ValueError, TypeError):
        raise SignatureRefused("The statement's signature does not belong to this machine.") from None
