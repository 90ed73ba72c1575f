"""Opening a platform's backup with the operator's private key, and putting it in place in a new installation."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

import zstandard
from django.core.management import call_command
from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.rebuilding.beginning import RESTORED
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.services import pause_reclaim
from protocol.stored.errors import FormatError

from .contents import AUTHORITY, DJANGO_KEY, DUMP, MANIFEST, SECRETS_KEY, SETTINGS
from .database import load_database
from .envelope import LABEL, opened_pieces, read_head

MEMBERS = frozenset({MANIFEST, SETTINGS, DJANGO_KEY, SECRETS_KEY, DUMP, *(f"authority/{name}" for name in AUTHORITY)})
COPY_SIZE = 1024 * 1024
PAUSE_REASON = (
    "The platform came back from its backup: holds, and what was brought back, since then are not known. Run "
    "rebuild_catalog, then resume once every snapshot is verified and `scrub` has read everything once."
)


class OpeningKey(Protocol):
    """The operator's private key."""

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes: ...


def unpack(file: BufferedReader[Any], key: OpeningKey, key_hash: bytes, out: Path) -> list[str]:
    """Open a backup into the fresh directory `out` (0700); which files came. RebuildRefused when it does not open.

    Nothing but the names that we know is written, whatever the file holds.
    """
    try:
        wanted, wrapped, aad = read_head(file)
        if wanted != key_hash:
            raise RebuildRefused("This backup is sealed to another operator's key.")
        out.mkdir(mode=0o700)
        for folder in ("secrets", "authority"):
            (out / folder).mkdir(mode=0o700)
        pieces = _Pieces(opened_pieces(file, key.unwrap(wrapped, LABEL), aad))
        return _extract(zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", pieces)), pieces, out)
    except FormatError as fault:
        raise RebuildRefused(f"The backup is damaged: {fault}.") from None
    except (zstandard.ZstdError, tarfile.TarError) as fault:
        raise RebuildRefused(f"The backup cannot be unpacked ({type(fault).__name__}).") from None


def _extract(plain: BinaryIO, pieces: _Pieces, out: Path) -> list[str]:
    found = []
    with tarfile.open(fileobj=plain, mode="r|") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isreg() and member.name in MEMBERS else None
            if content is None:
                raise RebuildRefused(f"The backup holds something that does not belong there: {member.name[:100]!r}.")
            _write(out / member.name, content.read)
            found.append(member.name)
    while pieces.read(COPY_SIZE):  # to the last piece: only there it shows that nothing was cut off
        pass
    missing = {MANIFEST, DJANGO_KEY, DUMP} - set(found)
    if missing:
        raise RebuildRefused(f"The backup is not whole: it lacks {', '.join(sorted(missing))}.")
    return found


def _write(path: Path, read: Callable[[int], bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while piece := read(COPY_SIZE):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def put_in_place(unpacked: Path, actor: str) -> None:
    """Load the database of a new installation and give its home the authority and the key. As the owner role.

    RebuildRefused when the installation has tenants already. The platform has to be started again afterwards.
    """
    with without_tenant_scope("a platform is restored into an empty one only"):
        if Tenant.objects.exists():
            raise RebuildRefused(
                "This installation has tenants already. A platform is restored into a new one: set STRONGROOM_HOME to "
                "an empty directory, start it, and run this again."
            )
    load_database(unpacked / DUMP)
    call_command("migrate", interactive=False, verbosity=0)
    home = stores.home()
    (home / "authority").mkdir(mode=0o700, exist_ok=True)
    for name in ("secrets/django-key", *(f"authority/{name}" for name in AUTHORITY)):
        source = unpacked / name
        if source.exists() and (home / name).parent.is_dir():
            _replace(home / name, source)
    with transaction.atomic():
        record_audit(RESTORED, actor=actor, object="platform")
        pause_reclaim(None, by=actor, reason=PAUSE_REASON)


def _replace(path: Path, source: Path) -> None:
    draft = path.with_name(f"{path.name}.restored")
    draft.unlink(missing_ok=True)
    with source.open("rb") as file:
        _write(draft, file.read)
    draft.replace(path)


class _Pieces:
    """The opened pieces as something to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; b"" at the end."""
        while not self._held:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._held = piece
        taken, self._held = (self._held, b"") if size < 0 else (self._held[:size], self._held[size:])
        return taken
