"""Secrets at rest: AES-256-GCM under keys that are derived from the instance's own secret, one for each use.

Whoever copies the database alone has none of them. They open only with STRONGROOM_SECRETS_KEY where that is set (in the
environment, or in the file that STRONGROOM_SECRETS_KEY_FILE names), else with DJANGO_SECRET_KEY (in an embedded
instance `HOME/secrets/django-key`), or with a former one of either. The owner's id is part of what is authenticated, so
a sealed value that is moved to another row does not open.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from blake3 import blake3
from Crypto.Cipher import AES
from django.conf import settings

VERSION = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16


class SecretUnreadable(ValueError):
    """A sealed value cannot be opened with the secrets that this instance has."""

    def __init__(self, what: str = "The secret") -> None:
        super().__init__(
            f"{what} cannot be opened: sealed under another STRONGROOM_SECRETS_KEY or DJANGO_SECRET_KEY."
            " Enter it again, or put the former key back."
        )


@dataclass(frozen=True, slots=True)
class SecretBox:
    """Seals and opens the secrets of one use."""

    context: str
    """Separates this use of the instance's secret from every other."""
    what: str
    """How a sentence about such a secret begins: "The channel's secret"."""

    def seal(self, owner: UUID, value: dict[str, Any]) -> bytes:
        """The value as version ‖ nonce ‖ ciphertext ‖ tag, bound to its owner's id."""
        nonce = os.urandom(NONCE_BYTES)
        cipher = AES.new(_key(next(_secrets()), self.context), AES.MODE_GCM, nonce=nonce)
        cipher.update(VERSION + owner.bytes)
        text, tag = cipher.encrypt_and_digest(json.dumps(value).encode())
        return VERSION + nonce + text + tag

    def open(self, owner: UUID, sealed: bytes) -> dict[str, Any]:
        """The sealed value; {} for an empty one. Raises SecretUnreadable."""
        if not sealed:
            return {}
        for secret in _secrets():
            try:
                return _open(_key(secret, self.context), owner, bytes(sealed))
            except ValueError:
                continue
        raise SecretUnreadable(self.what)


def _open(key: bytes, owner: UUID, sealed: bytes) -> dict[str, Any]:
    if sealed[:1] != VERSION:
        raise ValueError("unknown version")
    nonce, text, tag = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES : -TAG_BYTES], sealed[-TAG_BYTES:]
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(VERSION + owner.bytes)
    found: dict[str, Any] = json.loads(cipher.decrypt_and_verify(text, tag))
    return found


def _secrets() -> Iterator[str | bytes]:
    """The instance's secrets, the one that seals first; those that only open what is older after it."""
    if settings.STRONGROOM_SECRETS_KEY:
        yield settings.STRONGROOM_SECRETS_KEY
    else:
        yield settings.SECRET_KEY
    yield from settings.STRONGROOM_FORMER_SECRETS_KEYS
    yield from (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


def _key(secret: str | bytes, context: str) -> bytes:
    return blake3(secret if isinstance(secret, bytes) else secret.encode(), derive_key_context=context).digest()
