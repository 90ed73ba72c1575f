"""Keys for tests, each made once per run (by OpenSSL through `cryptography`, which is quicker), and wrong ones."""

from __future__ import annotations

from functools import cache

from Crypto.Util.asn1 import DerInteger, DerNull, DerObjectId, DerOctetString, DerSequence
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa as foreign_rsa

from agents.keys.rsa import PrivateKey, load_private

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8, PKCS1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


def foreign_key(name: str, bits: int = 2048, exponent: int = 65537) -> foreign_rsa.RSAPrivateKey:
    """Return the key called ``name`` as an object of another library."""
    return _foreign_key(name, bits, exponent)


def private_key(name: str, bits: int = 2048) -> PrivateKey:
    """Return the key called ``name`` as ours."""
    return _private_key(name, bits)


@cache
def _foreign_key(name: str, bits: int, exponent: int) -> foreign_rsa.RSAPrivateKey:
    return foreign_rsa.generate_private_key(exponent, bits)


@cache
def _private_key(name: str, bits: int) -> PrivateKey:
    return load_private(foreign_key(name, bits).private_bytes(DER, PKCS8, PLAIN))


def numbers(name: str = "one", bits: int = 2048) -> dict[str, int]:
    """Return the numbers of a private key by their usual names."""
    secret = foreign_key(name, bits).private_numbers()
    public = secret.public_numbers
    named = {"n": public.n, "e": public.e, "d": secret.d, "p": secret.p, "q": secret.q}
    return named | {"dp": secret.dmp1, "dq": secret.dmq1, "qi": secret.iqmp}


def pkcs8_of(values: dict[str, int], oid: str = "1.2.840.113549.1.1.1") -> bytes:
    """Return a PKCS #8 file (DER) of any numbers, right or wrong."""
    inner = DerSequence(
        [DerInteger(0), *(DerInteger(values[name]) for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"])]
    )
    algorithm = DerSequence([DerObjectId(oid), DerNull()])
    return bytes(DerSequence([DerInteger(0), algorithm, DerOctetString(inner.encode())]).encode())
