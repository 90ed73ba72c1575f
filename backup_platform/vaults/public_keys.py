"""Public RSA keys as the platform accepts them, and signatures under them.

The rules are DESIGN's, the same that agents follow: rsaEncryption, exponent 65537, 2048 (import only), 3072 or 4096
bits, SubjectPublicKeyInfo in canonical DER; PSS with SHA-256, MGF1-SHA-256 and a salt of exactly 32 bytes.
"""

from __future__ import annotations

import hashlib

from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss

PUBLIC_EXPONENT = 65537
VAULT_KEY_BITS = frozenset({2048, 3072, 4096})
MACHINE_KEY_BITS = frozenset({3072, 4096})
SALT_BYTES = 32
MAX_SPKI = 1024
"""An RSA-4096 SubjectPublicKeyInfo is 550 bytes."""


class PublicKeyRefused(ValueError):
    """A public key breaks a rule; the text names the rule."""


def check_public_key(spki: bytes, bits: frozenset[int], what: str) -> RSA.RsaKey:
    """The RSA key in `spki`, or `PublicKeyRefused` naming the fault; `what` begins the sentence ("The reading key")."""
    if not 0 < len(spki) <= MAX_SPKI:
        raise PublicKeyRefused(f"{what} is empty or too long for an RSA key of up to 4096 bits.")
    try:
        key = RSA.import_key(spki)
    except (ValueError, IndexError, TypeError):
        raise PublicKeyRefused(f"{what} is not an RSA public key (SubjectPublicKeyInfo, DER).") from None
    if key.has_private():
        raise PublicKeyRefused(f"{what} is a private key; only public keys may be sent to the platform.")
    if key.size_in_bits() not in bits:
        allowed = ", ".join(str(size) for size in sorted(bits))
        raise PublicKeyRefused(f"{what} has {key.size_in_bits()} bits; allowed are {allowed}.")
    if key.e != PUBLIC_EXPONENT:
        raise PublicKeyRefused(f"{what} has the public exponent {key.e}; it must be {PUBLIC_EXPONENT}.")
    # PEM, id-RSASSA-PSS, trailing bytes and other spellings would give one key several hashes.
    if key.export_key(format="DER") != spki:
        raise PublicKeyRefused(f"{what} is not written as rsaEncryption in canonical DER.")
    return key


def key_hash(spki: bytes) -> bytes:
    """SHA-256 of a SubjectPublicKeyInfo: how keys are named everywhere."""
    return hashlib.sha256(spki).digest()


def signature_matches(spki: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is an RSA-PSS signature over `message` under the key; the key was checked before."""
    try:
        pss.new(RSA.import_key(spki), salt_bytes=SALT_BYTES).verify(SHA256.new(message), signature)
    except (ValueError, TypeError):
        return False
    return True
