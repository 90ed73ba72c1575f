"""kit.json: what a kit says about itself, and how wrong passphrases and damage are told apart.

Three values do that. ``checksum`` (SHA-256, no key) catches accidents to kit.json itself; ``check`` (from the
passphrase) tells whether the passphrase is right; ``mac`` and one MAC per key file (HMAC-SHA256 under a key from the
passphrase) catch everything else before a key is used, since the CBC encryption of the key files does not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agents.keys.faults import KitDamaged, WrongPassphrase
from agents.keys.key_files import MAX_ROUNDS, passphrase_bytes
from agents.keys.rsa import ROUNDS

FORMAT = 1
KDF = "PBKDF2-HMAC-SHA512"
SALT_SIZE = 16
_ADVICE = "Use another copy of the kit."


@dataclass(frozen=True, slots=True)
class KitManifest:
    """What kit.json holds besides its own protection. ``files`` are the key files by name."""

    name: str
    created_at: str
    vault_record: bytes
    wrapped_secrets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _PassphraseKeys:
    """Both halves of one PBKDF2-HMAC-SHA512 block: one is kept secret, one is written down."""

    mac_key: bytes = field(repr=False)
    check: bytes = field(repr=False)

    def mac(self, name: str, content: bytes) -> str:
        return hmac.new(self.mac_key, name.encode() + b"\0" + content, "sha256").hexdigest()


def write_manifest(manifest: KitManifest, files: Mapping[str, bytes], passphrase: str, rounds: int = ROUNDS) -> bytes:
    """Return kit.json for these key files."""
    salt = secrets.token_bytes(SALT_SIZE)
    keys = _derive(passphrase, salt, rounds)
    body: dict[str, Any] = {
        "format": FORMAT,
        "name": manifest.name,
        "created_at": manifest.created_at,
        "passphrase": {"kdf": KDF, "rounds": rounds, "salt": _base64(salt), "check": _base64(keys.check)},
        "vault_record": _base64(manifest.vault_record),
        "wrapped_secrets": [_base64(secret) for secret in manifest.wrapped_secrets],
        "files": {name: keys.mac(name, content) for name, content in files.items()},
    }
    body["mac"] = keys.mac("kit.json", _canonical(body))
    body["checksum"] = hashlib.sha256(_canonical(body)).hexdigest()
    return json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n"


def read_manifest(data: bytes, files: Mapping[str, bytes], passphrase: str) -> KitManifest:
    """Return what kit.json says when it and the key files are as they were written under this passphrase.

    WrongPassphrase or KitDamaged (which names the file) otherwise.
    """
    body = _checked_body(data)
    try:
        keys = _opened(body["passphrase"], passphrase)
        mac = body.pop("mac")
        if not hmac.compare_digest(keys.mac("kit.json", _canonical(body)), mac):
            raise KitDamaged("kit.json of this kit was altered.", _ADVICE)
        _check_files(keys, body["files"], files)
        wrapped = tuple(_bytes(secret) for secret in body["wrapped_secrets"])
        return KitManifest(body["name"], body["created_at"], _bytes(body["vault_record"]), wrapped)
    except (KeyError, TypeError, ValueError):
        raise KitDamaged("kit.json of this kit is damaged.", _ADVICE) from None


def _checked_body(data: bytes) -> dict[str, Any]:
    """Return kit.json as a map without its checksum, which matched."""
    try:
        body = json.loads(data)
        checksum = body.pop("checksum")
        intact = hmac.compare_digest(hashlib.sha256(_canonical(body)).hexdigest(), checksum)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        intact = False
    if not intact:
        raise KitDamaged("kit.json of this kit is damaged.", _ADVICE)
    if body.get("format") != FORMAT:
        raise KitDamaged("This kit was made by a version that this program does not know.", "Update the program.")
    return dict(body)


def _opened(parameters: Mapping[str, Any], passphrase: str) -> _PassphraseKeys:
    rounds = parameters["rounds"]
    if parameters["kdf"] != KDF or type(rounds) is not int or not 1 <= rounds <= MAX_ROUNDS:
        raise ValueError("unknown key derivation")
    keys = _derive(passphrase, _bytes(parameters["salt"]), rounds)
    if not hmac.compare_digest(keys.check, _bytes(parameters["check"])):
        raise WrongPassphrase("The passphrase is wrong: the kit does not open under it.")
    return keys


def _check_files(keys: _PassphraseKeys, macs: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    if set(macs) != set(files):
        raise ValueError("other files than expected")
    for name, content in files.items():
        if not hmac.compare_digest(keys.mac(name, content), macs[name]):
            raise KitDamaged(f"{name} of this kit is damaged or was exchanged.", _ADVICE)


def _derive(passphrase: str, salt: bytes, rounds: int) -> _PassphraseKeys:
    block = hashlib.pbkdf2_hmac("sha512", passphrase_bytes(passphrase), salt, rounds, 64)
    return _PassphraseKeys(block[:32], block[32:])


def _canonical(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
