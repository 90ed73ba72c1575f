"""The one module that makes AES-GCM ciphers: 256-bit key, 12-byte nonce always given, 16-byte tag.

Bulk data goes through `cryptography` (decision 0020: five to ten times as fast as pycryptodome here, and both threads
run at once). A key is used for one message only, so no nonce can repeat under it; the nonce is random all the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE = 32
NONCE_SIZE = 12
TAG_SIZE = 16

Buffer = bytes | bytearray | memoryview
NonceSource = Callable[[int], bytes]
"""Given a size, returns that many bytes that were never returned before. Tests freeze it for known answers."""

fresh_nonce: NonceSource = secrets.token_bytes


class CipherFault(Exception):
    """A message was not sealed under this key, nonce and associated data, or is damaged."""


def encrypt(key: bytes, nonce: bytes, plaintext: Buffer, aad: bytes) -> bytes:
    """Return ciphertext ‖ tag. ValueError for a key that is not 32 bytes or a nonce that is not 12."""
    _check(key, nonce)
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def decrypt(key: bytes, nonce: bytes, sealed: Buffer, aad: bytes) -> bytes:
    """Return the plaintext of ciphertext ‖ tag; CipherFault when the tag does not match."""
    _check(key, nonce)
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise CipherFault from None


def _check(key: bytes, nonce: bytes) -> None:
    # AESGCM would take a 16-byte key and nonces of 8 to 128 bytes: both would be another format without saying so.
    if len(key) != KEY_SIZE or len(nonce) != NONCE_SIZE:
        raise ValueError("AES-256-GCM takes a key of 32 bytes and a nonce of 12")
