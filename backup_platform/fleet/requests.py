"""What an agent sends to enrol, checked: its certificate request, its reading key, its facts."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import PublicKeyAlgorithmOID

from backup_platform.vaults.public_keys import MACHINE_KEY_BITS, PublicKeyRefused, check_public_key, key_hash

from .errors import CsrRefused

MAX_CSR = 8 * 1024
MAX_FACTS = 16
MAX_FACT = 200
SIGNATURE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True)
class EnrollmentRequest:
    """A machine's two keys: identity (TLS, signatures) as parsed and as SPKI, reading (unwraps) as SPKI."""

    identity: RSAPublicKey
    identity_key: bytes
    reading_key: bytes

    @property
    def identity_hash(self) -> bytes:
        """SHA-256 of the identity key: what every later connection is recognised by."""
        return key_hash(self.identity_key)


def check_request(csr: bytes, reading_key: bytes) -> EnrollmentRequest:
    """Check both keys and that the sender holds the identity key. Raises `CsrRefused` naming the fault."""
    identity = _identity_of(csr)
    spki = identity.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        check_public_key(spki, MACHINE_KEY_BITS, "The identity key")
        check_public_key(reading_key, MACHINE_KEY_BITS, "The reading key")
    except PublicKeyRefused as fault:
        raise CsrRefused(str(fault)) from None
    if spki == reading_key:
        raise CsrRefused("The identity key and the reading key are the same: a key has one use.")
    return EnrollmentRequest(identity, spki, reading_key)


def identity_of_request(csr: bytes) -> RSAPublicKey:
    """The key of a certificate request, proved to be the sender's. Raises `CsrRefused` naming the fault."""
    return _identity_of(csr)


def _identity_of(csr: bytes) -> RSAPublicKey:
    if len(csr) > MAX_CSR:
        raise CsrRefused(f"The certificate request is over {MAX_CSR} bytes.")
    try:
        request = x509.load_der_x509_csr(csr)
        algorithm = request.public_key_algorithm_oid  # type: ignore[attr-defined]
        key = request.public_key()
        proven = isinstance(request.signature_hash_algorithm, SIGNATURE_HASHES) and request.is_signature_valid
    except Exception:  # noqa: BLE001 - the parser's faults are many, and all mean the same here
        raise CsrRefused("The certificate request cannot be read (PKCS#10, DER).") from None
    if algorithm != PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5 or not isinstance(key, RSAPublicKey):
        raise CsrRefused("The identity key must be an RSA key (rsaEncryption).")
    if not proven:
        raise CsrRefused("The certificate request is not signed by its own key with SHA-256 or better.")
    return key


def clean_facts(facts: dict[str, str]) -> dict[str, str]:
    """What an agent says of itself, bounded and printable. It is shown to people, so it is never trusted."""
    items = list(facts.items())[:MAX_FACTS]
    return {printable(str(key))[:50]: printable(str(value))[:MAX_FACT] for key, value in items}


def printable(text: str) -> str:
    """Text without characters that a terminal, a page or the database could stumble over."""
    return "".join(character if character.isprintable() else "�" for character in text)


def wanted_name(token_name: str, facts: dict[str, str]) -> str:
    """The name a machine would like: what its enrolment says, else its host name, else "machine"."""
    name = token_name.strip() or facts.get("hostname", "").strip() or "machine"
    return printable(name).replace("/", "-")[:200]
