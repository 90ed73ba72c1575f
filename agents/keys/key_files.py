"""Telling key files apart and getting RSA numbers out of them; everything else is refused with its fault named.

Read are SubjectPublicKeyInfo (RFC 5280) and PKCS #8 (RFC 5958), plain or under PBES2 (RFC 8018), PEM or DER.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from agents.keys.der import BIT_STRING, INTEGER, NULL, OCTET_STRING, OID, SEQUENCE, Element, key_der, number, sequence
from agents.keys.faults import KeyFault, PassphraseMissing, WrongPassphrase

RSA_ENCRYPTION = bytes.fromhex("2a864886f70d010101")
PBES2 = bytes.fromhex("2a864886f70d01050d")
ALGORITHM_NAMES = {
    bytes.fromhex("2a864886f70d01010a"): "an RSA key restricted to id-RSASSA-PSS",
    bytes.fromhex("2a864886f70d010107"): "an RSA key restricted to id-RSAES-OAEP",
    bytes.fromhex("2a8648ce3d0201"): "an elliptic-curve (EC) key",
    bytes.fromhex("2a8648ce380401"): "a DSA key",
    bytes.fromhex("2b656e"): "an X25519 key",
    bytes.fromhex("2b656f"): "an X448 key",
    bytes.fromhex("2b6570"): "an Ed25519 key",
    bytes.fromhex("2b6571"): "an Ed448 key",
}
MAX_ROUNDS = 10_000_000
"""PBKDF2 rounds that a key file may ask for: some ten seconds of work, not hours."""

_ADVICE = "Only RSA keys in the form rsaEncryption are used here."


def passphrase_bytes(passphrase: str) -> bytes:
    """Return the bytes of a passphrase: UTF-8 of its NFC form, since keyboards differ in how they compose letters."""
    return unicodedata.normalize("NFC", passphrase).encode("utf-8")


def public_numbers(data: bytes) -> tuple[int, int]:
    """Return (n, e) of a public key file; KeyFault when it is anything else."""
    _, der = key_der(data)
    parts = sequence(der)
    kind = _kind(parts)
    if kind != "public":
        raise KeyFault(f"A public key is needed here, but this is {_KINDS[kind]}.")
    _check_algorithm(parts[0])
    if parts[1].content[:1] != b"\0":
        raise KeyFault("The key is damaged: its bit string is not whole bytes.")
    numbers = sequence(parts[1].content[1:], "key")
    if len(numbers) != 2:
        raise KeyFault("The key is damaged: it does not hold a modulus and an exponent.")
    return number(numbers[0]), number(numbers[1])


def private_numbers(data: bytes, passphrase: str | None) -> tuple[int, ...]:
    """Return (n, e, d, p, q, d mod p-1, d mod q-1, 1/q mod p) of a private key file; KeyFault when it is none."""
    _, der = key_der(data)
    parts = sequence(der)
    kind = _kind(parts)
    if kind == "encrypted":
        return _decrypted_numbers(der, parts, passphrase)
    if kind != "private":
        raise KeyFault(f"A private key is needed here, but this is {_KINDS[kind]}.", _KIND_ADVICE.get(kind, ""))
    return _pkcs8_numbers(parts)


def _decrypted_numbers(der: bytes, parts: Sequence[Element], passphrase: str | None) -> tuple[int, ...]:
    if passphrase is None:
        raise PassphraseMissing("The key is encrypted, and no passphrase was given.")
    _check_encryption(parts[0])
    # Only kits are encrypted: an agent's start does without.
    from Crypto import IncorrectPassphraseError, KdfLimitError
    from Crypto.IO import PKCS8

    try:
        oid, key_bytes, parameters = PKCS8.unwrap(der, passphrase_bytes(passphrase), MAX_ROUNDS)[:3]
    except IncorrectPassphraseError:
        raise WrongPassphrase("The passphrase is wrong: the key does not open under it.") from None
    except KdfLimitError:
        raise KeyFault("The key asks for more work to open it than is reasonable, so it is refused.") from None
    except (ValueError, IndexError, TypeError):
        raise KeyFault("The encrypted key is damaged, or encrypted in a way that is not known here.") from None
    return _unwrapped_numbers(oid, key_bytes, parameters)


def _unwrapped_numbers(oid: str, key_bytes: bytes, parameters: bytes | None) -> tuple[int, ...]:
    encoded = _oid_bytes(oid)
    if encoded != RSA_ENCRYPTION or parameters is not None:
        raise KeyFault(f"This is {ALGORITHM_NAMES.get(encoded, 'a key of another algorithm')}, not RSA.", _ADVICE)
    return _rsa_private_numbers(key_bytes)


def _oid_bytes(oid: str) -> bytes:
    from Crypto.Util.asn1 import DerObjectId

    return bytes(DerObjectId(oid).encode()[2:])


def _check_encryption(algorithm: Element) -> None:
    parts = sequence(algorithm.whole, "key")
    if not parts or parts[0].tag != OID or parts[0].content != PBES2:
        raise KeyFault(
            "The key is encrypted in an outdated way (not PBES2), which is refused.",
            "Convert it with: openssl pkcs8 -topk8 -v2 aes-256-cbc",
        )


def _pkcs8_numbers(parts: Sequence[Element]) -> tuple[int, ...]:
    _check_algorithm(parts[1])
    return _rsa_private_numbers(parts[2].content)


def _rsa_private_numbers(content: bytes) -> tuple[int, ...]:
    numbers = sequence(content, "key")
    if len(numbers) != 9 or number(numbers[0]) != 0:
        raise KeyFault("The key is damaged: it is not a private RSA key of two primes.")
    return tuple(number(element) for element in numbers[1:])


def _check_algorithm(algorithm: Element) -> None:
    """Refuse every algorithm but rsaEncryption with its NULL parameters."""
    parts = sequence(algorithm.whole, "key")
    if not parts or parts[0].tag != OID:
        raise KeyFault("The key is damaged: it does not name its algorithm.")
    oid = parts[0].content
    if oid != RSA_ENCRYPTION:
        raise KeyFault(f"This is {ALGORITHM_NAMES.get(oid, 'a key of another algorithm')}, not plain RSA.", _ADVICE)
    if len(parts) != 2 or parts[1].tag != NULL or parts[1].content:
        raise KeyFault("The key is damaged: rsaEncryption has no parameters.")


_KINDS = {
    "private": "a private key",
    "public": "a public key",
    "encrypted": "an encrypted private key",
    "pkcs1-private": "a private key in the old PKCS #1 form",
    "pkcs1-public": "a public key in the old PKCS #1 form",
    "sec1": "an elliptic-curve (EC) key",
    "certificate": "a certificate",
    "other": "something else",
}
_KIND_ADVICE = {"pkcs1-private": "Convert it with: openssl pkcs8 -topk8"}


def _kind(parts: Sequence[Element]) -> str:
    tags = tuple(part.tag for part in parts)
    if tags[:3] == (INTEGER, SEQUENCE, OCTET_STRING):
        return "private"
    if tags[:2] == (INTEGER, OCTET_STRING):
        return "sec1"
    if set(tags) == {INTEGER}:
        return {2: "pkcs1-public", 9: "pkcs1-private"}.get(len(tags), "other")
    shapes = {
        (SEQUENCE, BIT_STRING): "public",
        (SEQUENCE, OCTET_STRING): "encrypted",
        (SEQUENCE, SEQUENCE, BIT_STRING): "certificate",
    }
    return shapes.get(tags, "other")
