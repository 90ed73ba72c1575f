"""Telling the operator which key signs the platform's backups, and putting another one in its place."""

from __future__ import annotations

from pathlib import Path

from django.utils import timezone

from .chain import chain, note_told
from .one_at_a_time import alone
from .signers import note_signer
from .signing_key import SigningKey, make_pem, replace_by, signing_key


def tell_signer() -> str:
    """The hash of the signing key, for people; that they were told is noted. RebuildRefused."""
    key = signing_key()
    note_told(key.key_hash)
    return key.key_hash.hex()


def tell_signer_into(path: Path) -> str:
    """The same, and write it into the operator's list of signers at `path`. RebuildRefused, OSError."""
    key = signing_key()
    _write_down(path, key)
    note_told(key.key_hash)
    return key.key_hash.hex()


def replace_signer(path: Path, actor: str) -> str:
    """Sign with a new key from now on, whose hash goes into the list at `path` first; its hash. As above.

    No signature of the old key vouches for the new one: who has stolen the old one could name a successor of his own.
    """
    pem = make_pem()
    with alone():
        _write_down(path, SigningKey(pem))
        key = replace_by(pem, "platform_signing_key.replaced", actor)
        note_told(key.key_hash)
    return key.key_hash.hex()


def _write_down(path: Path, key: SigningKey) -> None:
    note_signer(path, key.key_hash, chain().number, f"written {timezone.now():%Y-%m-%d}")
