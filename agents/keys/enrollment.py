"""Enrolment: the string that an administrator hands over, and the blob that the server keeps for it.

``strongroom://host:port/?token=T&ca=HEX#KEY``. The token (32 random bytes, base64url) is what the server knows by its
hash; ``ca`` is the SHA-256 of the platform's CA certificate; the fragment is a one-time key that never reaches the
server. Under it the blob holds the dedup secret and the signing key's hash, so a used string is worthless, and the
server cannot say whom a new machine trusts. Without ``#KEY`` it is the server's part alone: whoever enrols a machine
with that gives the kit's enrolment key file there, which says the same, and there is no blob.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import secrets
from dataclasses import dataclass, field

from agents.engine import ciphers
from agents.keys.enrollment_key import EnrollmentKey
from agents.keys.faults import EnrollmentFault
from protocol.stored.enrollment_blobs import (
    EnrollmentBlob,
    EnrollmentSecret,
    decode_enrollment_blob,
    decode_enrollment_secret,
    encode_enrollment_secret,
    enrollment_aad,
)
from protocol.stored.errors import FormatError

SCHEME = "strongroom://"
TOKEN_SIZE = 32
MAX_STRING = 1024

_SHAPE = re.compile(r"([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)
_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?"
)


@dataclass(frozen=True, slots=True)
class EnrollmentString:
    """The parts of an enrolment string; ``token`` and ``key`` have 32 bytes and are never printed by ``repr``.

    An empty ``key``: the string is the server's part alone.
    """

    host: str
    port: int
    token: bytes = field(repr=False)
    ca_hash: bytes
    key: bytes = field(repr=False, default=b"")

    @property
    def token_hash(self) -> bytes:
        """SHA-256 of the token: what the server stores and the blob is bound to."""
        return hashlib.sha256(self.token).digest()

    @classmethod
    def parse(cls, text: str, *, key_file: bool = False) -> EnrollmentString:
        """Read an enrolment string; EnrollmentFault names the part that is wrong and never repeats a secret.

        `key_file`: the secret comes from a file, so the string must end before its # sign.
        """
        text = text.strip()
        if not text.startswith(SCHEME) or len(text) > MAX_STRING:
            raise EnrollmentFault(f"This is no enrolment string: it has to begin with {SCHEME}.", _ADVICE)
        match = _SHAPE.fullmatch(text.removeprefix(SCHEME))
        assert match is not None  # the pattern takes every string; the parts are checked one by one
        address, path, query, fragment = match.groups()
        if path not in (None, "/"):
            raise EnrollmentFault("The enrolment string has a path after its address, which does not belong there.")
        host, port = _parse_address(address)
        parameters = _parse_query(query or "")
        key = _no_key(fragment) if key_file else _parse_key(fragment)
        return cls(host, port, _parse_secret(parameters["token"], "token"), _parse_hash(parameters["ca"]), key)

    def format(self) -> str:
        """Return the string itself: a secret until it was used."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"token={_base64url(self.token)}&ca={self.ca_hash.hex()}"
        whole = f"{SCHEME}{host}:{self.port}/?{query}"
        return f"{whole}#{_base64url(self.key)}" if self.key else whole


_ADVICE = "Copy it whole, with everything after the # sign."


def _parse_address(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise EnrollmentFault("The port in the enrolment string is missing or not a number from 1 to 65535.")
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1])), int(port)
        except ValueError:
            raise EnrollmentFault("The address in the enrolment string is not a host name or an IP address.") from None
    if not _NAME.fullmatch(host):
        raise EnrollmentFault("The address in the enrolment string is not a host name or an IP address.")
    return host, int(port)


def _parse_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in ("token", "ca"):
            raise EnrollmentFault("The enrolment string has a part besides token and ca.", "Is the agent too old?")
        if name in found:
            raise EnrollmentFault(f"The enrolment string has its {name} twice.")
        found[name] = value
    for name in ("token", "ca"):
        if name not in found:
            raise EnrollmentFault(f"The {name} is missing from the enrolment string.", _ADVICE)
    return found


def _parse_hash(text: str) -> bytes:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise EnrollmentFault("The ca in the enrolment string is not a SHA-256 of 64 hexadecimal digits.", _ADVICE)
    return bytes.fromhex(text)


def _parse_key(fragment: str | None) -> bytes:
    if not fragment:
        raise EnrollmentFault(
            "The key after the # sign is missing from the enrolment string.",
            f"{_ADVICE} If it was made without one, give the kit's enrolment key file: --key FILE.",
        )
    return _parse_secret(fragment, "key after the # sign")


def _no_key(fragment: str | None) -> bytes:
    if fragment is not None:
        raise EnrollmentFault(
            "The enrolment string has its key already, after the # sign, and a key file was given too.",
            "Leave --key out, or the string's part from the # sign on.",
        )
    return b""


def _parse_secret(text: str, part: str) -> bytes:
    try:
        value = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != TOKEN_SIZE or _base64url(value) != text:
        raise EnrollmentFault(f"The {part} in the enrolment string is damaged or incomplete.", _ADVICE)
    return value


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def server_part(host: str, port: int, ca_hash: bytes) -> EnrollmentString:
    """Make a fresh string without a key: for machines where the enrolment key file is given."""
    return EnrollmentString(host, port, secrets.token_bytes(TOKEN_SIZE), ca_hash)


def new_enrollment(
    host: str, port: int, ca_hash: bytes, enrollment_key: EnrollmentKey, *, write_only: bool = False
) -> tuple[EnrollmentString, bytes]:
    """Make a fresh enrolment string and the sealed blob that the server stores with its token's hash.

    ``write_only`` is sealed in as well, so that the server cannot have roots sealed to a machine that may not read.
    """
    made = EnrollmentString(host, port, secrets.token_bytes(TOKEN_SIZE), ca_hash, secrets.token_bytes(TOKEN_SIZE))
    return made, seal_blob(made, enrollment_key, write_only=write_only)


def seal_blob(
    enrollment: EnrollmentString,
    enrollment_key: EnrollmentKey,
    *,
    write_only: bool = False,
    nonces: ciphers.NonceSource = ciphers.fresh_nonce,
) -> bytes:
    """Return the blob, sealed under the string's one-time key and bound to the vault and the token."""
    secret = secret_of(enrollment_key, enrollment_key.vault_id, write_only=write_only)
    nonce = nonces(ciphers.NONCE_SIZE)
    aad = enrollment_aad(enrollment_key.vault_id, enrollment.token_hash)
    sealed = ciphers.encrypt(enrollment.key, nonce, encode_enrollment_secret(secret), aad)
    return EnrollmentBlob(nonce, sealed[: -ciphers.TAG_SIZE], sealed[-ciphers.TAG_SIZE :]).encode()


def secret_of(key_file: EnrollmentKey, vault_id: bytes, *, write_only: bool) -> EnrollmentSecret:
    """What a blob would hold, from the kit's enrolment key file; EnrollmentFault when it is of another vault.

    `write_only` is what the person at the machine says: the server must not be able to decide it alone.
    """
    if key_file.vault_id != vault_id:
        raise EnrollmentFault(
            "The enrolment is for another vault than the enrolment key file.",
            "Take the key file of that vault's kit, or ask for an enrolment of this vault.",
        )
    return EnrollmentSecret(
        epoch=key_file.epoch,
        dedup_secret=key_file.dedup_secret,
        signing_key_hash=key_file.signing_key_hash,
        vault_record_number=key_file.vault_record_number,
        write_only=write_only,
    )


def open_blob(enrollment: EnrollmentString, blob: bytes, vault_id: bytes) -> EnrollmentSecret:
    """Return what the blob holds for this string and vault; EnrollmentFault when it is another's or damaged."""
    try:
        parts = decode_enrollment_blob(blob)
        aad = enrollment_aad(vault_id, enrollment.token_hash)
        return decode_enrollment_secret(ciphers.decrypt(enrollment.key, parts.nonce, parts.ciphertext + parts.tag, aad))
    except FormatError as fault:
        raise EnrollmentFault(f"What the server stored for this enrolment is damaged: {fault.why}.") from None
    except ciphers.CipherFault:
        raise EnrollmentFault(
            "What the server stored for this enrolment does not open with the string's key.",
            "The string is damaged or the server altered it: make a new one.",
        ) from None
