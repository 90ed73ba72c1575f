"""Backups of a platform as somebody makes them who knows the operator's public key and no more."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import zstandard

from agents.keys.rsa import PrivateKey, PublicKey
from backup_platform.rebuilding.platform_backup.envelope import KEY_SIZE, LABEL, SealingWriter
from backup_platform.rebuilding.platform_backup.head import FIRST_PREVIOUS, UNSIGNED, Said, signed_head
from backup_platform.rebuilding.platform_backup.signing_key import SigningKey
from protocol.stored.prefix import ObjectType, pack_prefix
from tests.end_to_end.stage import quick_key

NOW = 4_000_000_000_000_000
"""A time of its own choice: in 2096."""


def packed(files: dict[str, bytes]) -> bytes:
    """What is sealed in a backup."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return zstandard.compress(tar.getvalue())


def unpacked_files(directory: Path) -> dict[str, bytes]:
    """The content of an unpacked backup, to be packed again."""
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()
    }


def sealed(key: PrivateKey, content: bytes) -> bytes:
    """An unsigned backup, as every release wrote it before backups were signed."""
    return sealed_to(key.public, content)


def sealed_to(operator: PublicKey, content: bytes, signer: SigningKey | None = None, number: int = 1) -> bytes:
    """A backup for the operator: unsigned, or signed by whoever makes it."""
    secret = os.urandom(KEY_SIZE)
    wrapped = operator.wrap(secret, LABEL)
    if signer is None:
        start = pack_prefix(ObjectType.PLATFORM_BACKUP, UNSIGNED) + operator.key_hash
        head = start + len(wrapped).to_bytes(2, "big") + wrapped
    else:
        head = signed_head(operator.key_hash, wrapped, Said(number, NOW, FIRST_PREVIOUS), signer)
    return _written(head, secret, content)


def with_anothers_signature(data: bytes, operator: PublicKey, content: bytes) -> bytes:
    """A backup with a fresh key of the forger's own, under number, signer and signature of a genuine one."""
    secret = os.urandom(KEY_SIZE)
    wrapped = operator.wrap(secret, LABEL)
    at = 8 + 32 + 2
    genuine = at + int.from_bytes(data[at - 2 : at], "big")
    assert genuine - at == len(wrapped)
    end = genuine + 8 + 8 + 32
    for _ in range(2):  # the signer's key, the signature
        end += 2 + int.from_bytes(data[end : end + 2], "big")
    return _written(data[:at] + wrapped + data[genuine:end], secret, content)


def new_signer() -> SigningKey:
    """A signing key of somebody's own."""
    return SigningKey(quick_key().to_pem(None))


def _written(head: bytes, secret: bytes, content: bytes) -> bytes:
    out = io.BytesIO()
    writer = SealingWriter(out, secret, head)
    for start in range(0, len(content), 300_000):
        writer.write(content[start : start + 300_000])
    writer.close()
    return out.getvalue()
