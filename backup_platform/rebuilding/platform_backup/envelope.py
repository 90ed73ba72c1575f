"""The sealed file of a platform's backup: written with the operator's public key alone, opened with the private one.

``head ‖ pieces``. A piece is ``length u32 ‖ ciphertext ‖ tag 16``, AES-256-GCM under the fresh key that the head has
wrapped, with the nonce ``number u88 ‖ last u8`` and the BLAKE3 of the head as aad: so pieces can neither be exchanged,
left out nor cut off at the end without being noticed. What is sealed is zstandard over a tar file
(docs/storage-format.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedReader
from typing import Any, BinaryIO

from blake3 import blake3
from Crypto.Cipher import AES, PKCS1_OAEP
from Crypto.Hash import SHA256
from Crypto.PublicKey.RSA import RsaKey
from Crypto.Signature import pss

from protocol.stored.errors import FormatError

from .head import WHAT, exactly

LABEL = b"strongroom/v1/platform-backup"
KEY_SIZE = 32
TAG_SIZE = 16
PIECE = 1024 * 1024


def operator_cipher(key: RsaKey) -> PKCS1_OAEP.PKCS1OAEP_Cipher:
    """RSA-OAEP as everywhere: SHA-256, MGF1 with SHA-256, our label."""
    return PKCS1_OAEP.new(key, hashAlgo=SHA256, mgfunc=_mgf1, label=LABEL)


def _mgf1(seed: bytes, size: int) -> bytes:
    return bytes(pss.MGF1(seed, size, SHA256))


class SealingWriter:
    """A file to write plaintext to, in pieces of any size; `close` writes the last piece and leaves `out` open.

    `secret` is the key of the pieces (KEY_SIZE bytes, used for this file only), `head` what was made with it.
    """

    def __init__(self, out: BinaryIO, secret: bytes, head: bytes) -> None:
        self._out = out
        self._secret = secret
        self._aad = blake3(head).digest()
        self._number = 0
        self._held = bytearray()
        out.write(head)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Seal what fills a whole piece; the rest waits."""
        self._held += data
        while len(self._held) > PIECE:
            self._put(bytes(self._held[:PIECE]), last=False)
            del self._held[:PIECE]
        return len(data)

    def flush(self) -> None:
        """Nothing: a piece is sealed when it is whole."""

    def close(self) -> None:
        """Seal the last piece. Without it the file does not open to its end."""
        self._put(bytes(self._held), last=True)
        self._held.clear()

    def _put(self, piece: bytes, *, last: bool) -> None:
        cipher = _cipher(self._secret, self._number, last=last, aad=self._aad)
        text, tag = cipher.encrypt_and_digest(piece)
        self._out.write(len(text).to_bytes(4, "big") + text + tag)
        self._number += 1


def opened_pieces(file: BufferedReader[Any], secret: bytes, aad: bytes) -> Iterator[bytes]:
    """The plaintext, piece by piece. FormatError when a piece was changed, is missing, or the end was cut off."""
    number, last = 0, False
    while not last:
        size = int.from_bytes(exactly(file, 4), "big")
        if size > PIECE:
            raise FormatError(WHAT, "a piece is too long")
        text, tag = exactly(file, size), exactly(file, TAG_SIZE)
        last = not file.peek(1)
        try:
            yield _cipher(secret, number, last=last, aad=aad).decrypt_and_verify(text, tag)
        except ValueError:
            raise FormatError(WHAT, f"piece {number} was changed, or the end is missing") from None
        number += 1


def _cipher(secret: bytes, number: int, *, last: bool, aad: bytes) -> AES.GcmMode:  # type: ignore[name-defined]
    nonce = number.to_bytes(11, "big") + bytes((last,))
    cipher = AES.new(secret, AES.MODE_GCM, nonce=nonce)
    cipher.update(aad)
    return cipher
