"""What a platform's backup holds: the database, and those files without which a database is of no use.

manifest.json        format, time, release
secrets/django-key   with it the platform opens what is sealed in the database: credentials, channels, factors
secrets/secrets-key  likewise, where the platform has a key of its own for that
secrets/platform-signing-key.pem   what signs the platform's backups
authority/…          the certificate authority that agents pin
settings.json        the STRONGROOM_ variables that were set, for people to look up; no secrets
database.dump        pg_dump's custom format
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import IO, BinaryIO, cast

import zstandard
from django.conf import settings
from django.utils import timezone

from backup_platform.catalog import stores

from .beating import BeatingReader
from .chain import sign_next
from .database import dump_database
from .envelope import KEY_SIZE, SealingWriter, operator_cipher
from .operator_key import operator_key
from .signing_key import SIGNING_KEY, signing_key

FORMAT = 1
MANIFEST, SETTINGS, DUMP = "manifest.json", "settings.json", "database.dump"
DJANGO_KEY, SECRETS_KEY = "secrets/django-key", "secrets/secrets-key"
AUTHORITY = ("ca.key", "ca.pem", "gateway.key", "gateway.pem")
LEVEL = 6
SECRET_WORDS = ("KEY", "PASSWORD", "SECRET", "TOKEN", "URL", "PASSPHRASE")
"""A setting with one of these in its name is not written down."""


class NoOperatorKey(Exception):
    """There is nobody whom the backup could be sealed to."""

    def __init__(self) -> None:
        super().__init__("The platform does not back itself up: it has no operator's key.")


def write_backup(out: BinaryIO, heartbeat: Callable[[], object]) -> int:
    """Write a sealed and signed backup of this platform; its number. Raises NoOperatorKey, RebuildRefused, OSError.

    The dump lies on the home's disk meanwhile, in a file without a name.
    """
    key = operator_key()
    if key is None:
        raise NoOperatorKey
    public, key_hash = key
    secret = os.urandom(KEY_SIZE)
    head, number = sign_next(key_hash, operator_cipher(public).encrypt(secret))
    sealing = SealingWriter(out, secret, head)
    with tempfile.TemporaryFile(dir=stores.home()) as dump:
        dump_database(dump, heartbeat)
        size = dump.seek(0, os.SEEK_END)
        dump.seek(0)
        # The stream that compresses must not close what seals: that has a last piece to write.
        with zstandard.ZstdCompressor(level=LEVEL).stream_writer(cast("IO[bytes]", sealing), closefd=False) as packing:
            _write_tar(packing, cast("IO[bytes]", BeatingReader(cast("BinaryIO", dump), heartbeat)), size)
    sealing.close()
    return number


def _write_tar(out: IO[bytes], dump: IO[bytes], size: int) -> None:
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for name, content in _small_files().items():
            _add(tar, name, io.BytesIO(content), len(content))
        _add(tar, DUMP, dump, size)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, content)


def _small_files() -> dict[str, bytes]:
    manifest = {"format": FORMAT, "made_at": timezone.now().isoformat(), "release": _release()}
    files = {
        MANIFEST: json.dumps(manifest, indent=1).encode(),
        SETTINGS: json.dumps(_settings(), indent=1, sort_keys=True).encode(),
        DJANGO_KEY: _bytes(settings.SECRET_KEY),
        SIGNING_KEY: signing_key().pem,
    }
    if own := getattr(settings, "STRONGROOM_SECRETS_KEY", ""):
        files[SECRETS_KEY] = _bytes(own)
    for name in AUTHORITY:
        path = stores.home() / "authority" / name
        if path.exists():
            files[f"authority/{name}"] = path.read_bytes()
    return files


def _settings() -> dict[str, str]:
    named = {name: value for name, value in os.environ.items() if name.startswith("STRONGROOM_")}
    return {name: value for name, value in named.items() if not any(word in name for word in SECRET_WORDS)}


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def _release() -> str:
    try:
        return version("strongroom")
    except PackageNotFoundError:
        return "unknown"
