"""How django-allauth's rows are kept and shown here: sealed at rest, under our name."""

from __future__ import annotations

import base64
import secrets
from contextlib import suppress
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from blake3 import blake3
from Crypto.Cipher import AES
from django.conf import settings

CONTEXT = "strongroom/v1/second-factor"
NONCE_SIZE = 12
TAG_SIZE = 16


class SealingAdapter(DefaultMFAAdapter):
    """Secrets of second factors, sealed with AES-256-GCM under a key derived from SECRET_KEY: a stolen copy of the
    database makes no codes. Keys in SECRET_KEY_FALLBACKS
    still open them."""

    def encrypt(self, text: str) -> str:
        """The sealed text, base64."""
        nonce = secrets.token_bytes(NONCE_SIZE)
        sealed, tag = _cipher(nonce, settings.SECRET_KEY).encrypt_and_digest(text.encode())
        return base64.b64encode(nonce + sealed + tag).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """What `encrypt` was given. ValueError when it was sealed under another key."""
        data = base64.b64decode(encrypted_text)
        nonce, sealed, tag = data[:NONCE_SIZE], data[NONCE_SIZE:-TAG_SIZE], data[-TAG_SIZE:]
        for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
            with suppress(ValueError):
                return bytes(_cipher(nonce, str(secret)).decrypt_and_verify(sealed, tag)).decode()
        raise ValueError("A second factor was sealed under another DJANGO_SECRET_KEY: put the former key back.")

    def get_totp_label(self, user: Any) -> str:
        """What the app shows beside the code."""
        return str(user.get_username())

    def get_totp_issuer(self) -> str:
        """Whose code it is."""
        return "Strongroom"


def _cipher(nonce: bytes, secret: str) -> Any:
    key = blake3(secret.encode(), derive_key_context=CONTEXT).digest()
    return AES.new(key, AES.MODE_GCM, nonce=nonce)
