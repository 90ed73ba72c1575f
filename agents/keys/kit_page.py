"""The printable page of a kit: self-contained, every value escaped, no key readable without the passphrase."""

from __future__ import annotations

import html
import uuid
from collections.abc import Mapping
from importlib import resources
from string import Template

from agents.keys.kit_files import RECOVERY_KEY, SIGNING_KEY
from agents.keys.rsa import PublicKey
from agents.keys.vault_record import VaultRecord


def render_page(name: str, created_at: str, record: VaultRecord, key_files: Mapping[str, bytes]) -> bytes:
    """Return `recovery-kit.html` for a vault; ``key_files`` are the encrypted PEM files by name."""
    template = resources.files("agents.keys").joinpath("recovery-kit.html").read_text(encoding="utf-8")
    values = {
        "name": name,
        "created_at": created_at.replace("T", " ").replace("+00:00", " UTC"),
        "vault_id": str(uuid.UUID(bytes=record.vault_id)),
        "opening_fingerprint": fingerprint(record.opening_key),
        "signing_fingerprint": fingerprint(record.signing_key),
        "bits": str(record.opening_key.bits),
        "recovery_key": key_files[RECOVERY_KEY].decode("ascii").strip(),
        "signing_key": key_files[SIGNING_KEY].decode("ascii").strip(),
    }
    return Template(template).substitute({key: html.escape(value) for key, value in values.items()}).encode()


def fingerprint(key: PublicKey) -> str:
    """Return a key's hash as people compare it: sixteen groups of four hexadecimal digits."""
    text = key.key_hash.hex()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
