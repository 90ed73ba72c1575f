"""Secrets of channels at rest: AES-256-GCM under a key that is derived from the instance's own secret.

Whoever copies the database alone has none of them; they can be opened only with DJANGO_SECRET_KEY (in an embedded
instance `HOME/secrets/django-key`), or with a former one that stands in SECRET_KEY_FALLBACKS. The owner's id is part of
what is authenticated, so a sealed value that is moved to another row does not open.
"""

from __future__ import annotations

import json
import os
from typing import Any
from uuid import UUID

from blake3 import blake3
from Crypto.Cipher import AES
from django.conf import settings

CONTEXT = "strongroom/v1/notification-channel"
"""Separates this use of the instance's secret from every other."""
VERSION = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16


class SecretUnreadable(ValueError):
    """A sealed value cannot be opened with the secrets that this instance has."""

    def __init__(self) -> None:
        super().__init__(
            "The channel's secret was sealed under another DJANGO_SECRET_KEY. Enter it again, or put the former key"
            " back."
        )


def seal(owner: UUID, value: dict[str, Any]) -> bytes:
    """The value as version ‖ nonce ‖ ciphertext ‖ tag, bound to its owner's id."""
    nonce = os.urandom(NONCE_BYTES)
    cipher = AES.new(_key(settings.SECRET_KEY), AES.MODE_GCM, nonce=nonce)
    cipher.update(VERSION + owner.bytes)
    text, tag = cipher.encrypt_and_digest(json.dumps(value).encode())
    return VERSION + nonce + text + tag


def open_sealed(owner: UUID, sealed: bytes) -> dict[str, Any]:
    """The sealed value; {} for an empty one. Raises SecretUnreadable."""
    if not sealed:
        return {}
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        try:
            return _open(_key(secret), owner, bytes(sealed))
        except ValueError:
            continue
    raise SecretUnreadable


def _open(key: bytes, owner: UUID, sealed: bytes) -> dict[str, Any]:
    if sealed[:1] != VERSION:
        raise ValueError("unknown version")
    nonce, text, tag = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES : -TAG_BYTES], sealed[-TAG_BYTES:]
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(VERSION + owner.bytes)
    found: dict[str, Any] = json.loads(cipher.decrypt_and_verify(text, tag))
    return found


def _key(secret: str | bytes) -> bytes:
    return blake3(secret if isinstance(secret, bytes) else secret.encode(), derive_key_context=CONTEXT).digest()
