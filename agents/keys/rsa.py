"""RSA with everything fixed: OAEP and PSS with SHA-256, exponent 65537, 2048 (import only), 3072 or 4096 bits.

OAEP uses MGF1 with SHA-256 and a label (the library's default is SHA-1); PSS uses a salt of exactly 32 bytes
(RFC 8017). Key files are SubjectPublicKeyInfo and PKCS #8; encrypted ones are written as PBES2 with
PBKDF2-HMAC-SHA512 and AES-256-CBC, which OpenSSL and a browser open.
"""

from __future__ import annotations

import hashlib
import math
from typing import NoReturn

from Crypto.Cipher import PKCS1_OAEP
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pss

from agents.keys.faults import KeyFault, SignatureFault
from agents.keys.key_files import passphrase_bytes, private_numbers, public_numbers

EXPONENT = 65537
DEFAULT_BITS = 3072
READ_BITS = (2048, 3072, 4096)
MADE_BITS = (3072, 4096)
SALT_SIZE = 32
ROUNDS = 600_000
"""PBKDF2-HMAC-SHA512 rounds of key files that are written here."""

ROOT_LABEL = b"strongroom/v1/root"
DEDUP_SECRET_LABEL = b"strongroom/v1/dedup-secret"


class PublicKey:
    """A public RSA key that passed every check."""

    __slots__ = ("_key", "key_hash", "spki")

    def __init__(self, key: RSA.RsaKey) -> None:
        self._key = key
        self.spki: bytes = key.export_key(format="DER")
        """SubjectPublicKeyInfo in DER."""
        self.key_hash: bytes = hashlib.sha256(self.spki).digest()
        """SHA-256 of ``spki``: what names this key everywhere."""

    @property
    def bits(self) -> int:
        """Size of the modulus."""
        return int(self._key.size_in_bits())

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return when ``signature`` is this key's PSS signature over ``message``; SignatureFault otherwise."""
        try:
            pss.new(self._key, salt_bytes=SALT_SIZE).verify(SHA256.new(message), signature)
        except ValueError:
            raise SignatureFault("The signature does not match.") from None

    def wrap(self, secret: bytes, label: bytes) -> bytes:
        """Return ``secret`` (at most 190 bytes for 2048 bits) encrypted to this key under ``label``."""
        return bytes(_oaep(self._key, label).encrypt(secret))

    def to_pem(self) -> bytes:
        """Return the key as a PEM file."""
        return bytes(self._key.export_key(format="PEM")) + b"\n"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.spki == self.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey(RSA-{self.bits}, {self.key_hash.hex()[:16]})"


class PrivateKey:
    """A private RSA key that passed every check. It is never printed, copied or pickled."""

    __slots__ = ("_key", "public")

    def __init__(self, key: RSA.RsaKey) -> None:
        self._key = key
        self.public = PublicKey(key.public_key())

    def sign(self, message: bytes) -> bytes:
        """Return the PSS signature over ``message``, which begins with its own context string."""
        return bytes(pss.new(self._key, salt_bytes=SALT_SIZE).sign(SHA256.new(message)))

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes:
        """Return the secret that was wrapped to this key under ``label``; KeyFault when it was not."""
        try:
            return bytes(_oaep(self._key, label).decrypt(wrapped))
        except ValueError:
            raise KeyFault("This was not wrapped to this key, or it is damaged.") from None

    def to_pem(self, passphrase: str | None, rounds: int = ROUNDS) -> bytes:
        """Return the key as a PKCS #8 PEM file, under PBES2 unless ``passphrase`` is None."""
        return self._export("PEM", passphrase, rounds) + b"\n"

    def to_der(self) -> bytes:
        """Return the key as unencrypted PKCS #8 in DER, for handing it to another library in memory."""
        return self._export("DER", None, ROUNDS)

    def _export(self, form: str, passphrase: str | None, rounds: int) -> bytes:
        if passphrase is None:
            return bytes(self._key.export_key(format=form, pkcs=8))
        if not passphrase:
            raise KeyFault("An empty passphrase protects nothing.")
        return bytes(
            self._key.export_key(
                format=form,
                pkcs=8,
                passphrase=passphrase_bytes(passphrase),
                protection="PBKDF2WithHMAC-SHA512AndAES256-CBC",
                prot_params={"iteration_count": rounds, "salt_size": 16},
            )
        )

    def __repr__(self) -> str:
        return f"PrivateKey(RSA-{self.public.bits}, public {self.public.key_hash.hex()[:16]})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied")


def generate(bits: int = DEFAULT_BITS) -> PrivateKey:
    """Make a new key of 3072 or 4096 bits.

    OpenSSL finds the primes, in a fifth of the time (decision 0025); the numbers are checked as any key file is.
    """
    if bits not in MADE_BITS:
        raise KeyFault(f"New keys have 3072 or 4096 bits, not {bits}.")
    from cryptography.hazmat.primitives.asymmetric import rsa as openssl_rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = openssl_rsa.generate_private_key(EXPONENT, bits)
    return load_private(made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def load_private(data: bytes, passphrase: str | None = None, *, proven: bool = False) -> PrivateKey:
    """Read a private key file (PKCS #8, PEM or DER); KeyFault with the fault named when it cannot be used.

    `proven`: the file is the machine's own, written by this program when the primes had been tested; that test, 25 ms
    a prime, is left out then. That the numbers belong together is checked all the same.
    """
    numbers = private_numbers(data, passphrase)
    n, e, d, p, q = numbers[:5]
    _check_public(n, e)
    _check_private(*numbers)
    if not proven:
        _check_primes(p, q)
    return PrivateKey(RSA.construct((n, e, d, p, q), consistency_check=False))


def load_public(data: bytes) -> PublicKey:
    """Read a public key file (SubjectPublicKeyInfo, PEM or DER); KeyFault with the fault named otherwise."""
    n, e = public_numbers(data)
    _check_public(n, e)
    return PublicKey(RSA.construct((n, e), consistency_check=False))


def _check_public(n: int, e: int) -> None:
    if n.bit_length() not in READ_BITS:
        raise KeyFault(f"The key has {n.bit_length()} bits; only 2048, 3072 and 4096 are accepted.")
    if e != EXPONENT:
        raise KeyFault(f"The key's public exponent is not {EXPONENT}.")
    if n % 2 == 0:
        raise KeyFault("The key is inconsistent: its modulus is even.")


def _check_private(n: int, e: int, d: int, p: int, q: int, dp: int, dq: int, qi: int) -> None:
    """Refuse a private key whose numbers do not belong together: using it could reveal it, or open nothing."""
    if p * q != n or p == q or p < 3 or q < 3:
        raise KeyFault("The private key is inconsistent: its primes do not make its modulus.")
    if p.bit_length() != q.bit_length():
        raise KeyFault("The private key is inconsistent: its primes differ in size.")
    if not 1 < d < n or d * e % math.lcm(p - 1, q - 1) != 1:
        raise KeyFault("The private key is inconsistent: its private exponent does not match its public exponent.")
    if dp != d % (p - 1) or dq != d % (q - 1) or qi * q % p != 1 or not 0 < qi < p:
        raise KeyFault("The private key is inconsistent: its CRT values do not match.")


def _check_primes(p: int, q: int) -> None:
    from Crypto.Math.Primality import COMPOSITE, test_probable_prime

    if test_probable_prime(p) == COMPOSITE or test_probable_prime(q) == COMPOSITE:
        raise KeyFault("The private key is inconsistent: one of its factors is not prime.")


def _oaep(key: RSA.RsaKey, label: bytes) -> PKCS1_OAEP.PKCS1OAEP_Cipher:
    """Return the one OAEP cipher that is used; every parameter is explicit because the library's hash is SHA-1."""
    return PKCS1_OAEP.new(key, hashAlgo=SHA256, mgfunc=_mgf1_sha256, label=label)


def _mgf1_sha256(seed: bytes, size: int) -> bytes:
    return bytes(pss.MGF1(seed, size, SHA256))
