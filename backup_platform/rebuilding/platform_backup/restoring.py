"""Opening a platform's backup with the operator's private key, and putting it in place in a new installation."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

import zstandard
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.rebuilding.beginning import RESTORED
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.services import pause_reclaim
from protocol.stored.errors import FormatError

from .chain import go_on_after
from .contents import AUTHORITY, DJANGO_KEY, DUMP, MANIFEST, SECRETS_KEY, SETTINGS
from .database import load_database
from .envelope import LABEL, opened_pieces
from .head import Head, read_head
from .one_at_a_time import alone
from .signing_key import MAX_FILE, SIGNING_KEY, SigningKey, replace_by
from .trust import Demands, Verdict, judge

MEMBERS = frozenset(
    {MANIFEST, SETTINGS, DJANGO_KEY, SECRETS_KEY, SIGNING_KEY, DUMP, *(f"authority/{name}" for name in AUTHORITY)}
)
COPY_SIZE = 1024 * 1024
PAUSE_REASON = (
    "The platform came back from its backup: holds, and what was brought back, since then are not known. Run "
    "rebuild_catalog, then resume once every snapshot is verified and `scrub` has read everything once."
)


class OpeningKey(Protocol):
    """The operator's private key."""

    def unwrap(self, wrapped: bytes, label: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An opened backup: the files that came, its head, and whether it was proven."""

    names: list[str]
    head: Head
    verdict: Verdict


def unpack(
    file: BufferedReader[Any],
    key: OpeningKey,
    key_hash: bytes,
    out: Path,
    demands: Demands,
    tell: Callable[[Verdict], object] = bool,
) -> Unpacked:
    """Open a backup into the fresh directory `out` (0700). RebuildRefused: it is not to be trusted, or does not open.

    Who made it is decided from its head, before anything else of it is touched; `tell` hears of that at once. Nothing
    but the names that we know is written, whatever the file holds.
    """
    try:
        head = read_head(cast("BinaryIO", file))
        if head.operator != key_hash:
            raise RebuildRefused("This backup is sealed to another operator's key.")
        verdict = judge(head, demands, timezone.now())
        tell(verdict)
        out.mkdir(mode=0o700)
        for folder in ("secrets", "authority"):
            (out / folder).mkdir(mode=0o700)
        pieces = _Pieces(opened_pieces(file, key.unwrap(head.wrapped, LABEL), head.digest))
        stream = zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", pieces))
        return Unpacked(_extract(stream, pieces, out), head, verdict)
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


def put_in_place(unpacked: Path, made: Unpacked, actor: str) -> int:
    """Load the database of a new installation and give its home the authority and the keys. As the owner role.

    RebuildRefused when the installation has tenants already. The platform has to be started again afterwards. Returns
    how far the numbers of its backups are from now on; 0 when it begins anew, with a signing key of its own.
    """
    _refuse_tenants()
    signs_on = _own_signing_key(unpacked, made)
    load_database(unpacked / DUMP)
    call_command("migrate", interactive=False, verbosity=0)
    _put_files(unpacked)
    with transaction.atomic():
        record_audit(RESTORED, actor=actor, object="platform", **_provenance(made))
        pause_reclaim(None, by=actor, reason=PAUSE_REASON)
    if not signs_on:
        return 0
    with alone():
        replace_by(signs_on, "platform_signing_key.restored", actor)
        return go_on_after(made.head)


def _refuse_tenants() -> None:
    with without_tenant_scope("a platform is restored into an empty one only"):
        if Tenant.objects.exists():
            raise RebuildRefused(
                "This installation has tenants already. A platform is restored into a new one: set STRONGROOM_HOME to "
                "an empty directory, start it, and run this again."
            )


def _put_files(unpacked: Path) -> None:
    home = stores.home()
    (home / "authority").mkdir(mode=0o700, exist_ok=True)
    for name in ("secrets/django-key", *(f"authority/{name}" for name in AUTHORITY)):
        source = unpacked / name
        if source.exists() and (home / name).parent.is_dir():
            _replace(home / name, source)


def _provenance(made: Unpacked) -> dict[str, Any]:
    """What the audit says of the backup that everything before this line came from."""
    said, signature = made.head.said, made.head.signature
    if said is None or signature is None:
        return {"proven": False}
    return {"proven": made.verdict.proven, "number": said.number, "signer": signature.signer, "begun": said.time}


def _own_signing_key(unpacked: Path, made: Unpacked) -> bytes:
    """The signing key (PEM) in a backup that was proven with that very key; b"" for none.

    What nobody vouches for may hold a key that somebody else has as well, and would make it the platform's own.
    """
    path = unpacked / SIGNING_KEY
    if not made.verdict.proven or made.head.signature is None or not path.exists():
        return b""
    with path.open("rb") as file:
        pem = file.read(MAX_FILE)
    return pem if SigningKey(pem).key_hash == made.head.signature.signer else b""


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
