"""Packs again: each is read whole once, checked record by record, and its records go into the index as any others.

What a row says of a pack (its BLAKE3, its records) was in the database only; after this it is what the file is. A
record counts as there only if it was read and matched (law 2); who changed a pack as a whole is caught by whoever
opens its chunks.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO
from uuid import UUID

from blake3 import blake3
from django.db import connection, transaction
from django.utils import timezone

from backup_platform.catalog.arrivals import INSERT_SQL, MAX_ARRIVALS
from backup_platform.catalog.deduplication import deduplicate_pack
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState
from backup_platform.storage.base import NotFound, Store
from backup_platform.vaults.models import Vault
from protocol.stored.errors import FormatError
from protocol.stored.packs import (
    PACK_HEADER_SIZE,
    RECORD_HEADER_SIZE,
    IndexEntry,
    decode_pack_header,
    decode_record_header,
    read_index,
)
from protocol.stored.salvage import salvage_records

from .source import Source

PIECE = 1024 * 1024
NO_SESSION = UUID(int=0)
SPOOL = "rebuilt"
NOT_HERE = (PackPlace.SPOOL, PackPlace.LOST)


@dataclass(frozen=True, slots=True)
class SeenPack:
    """A pack as it was found: size and BLAKE3 of the whole, its good records, what is wrong with it (if anything)."""

    uid: UUID
    key: str
    size: int
    digest: bytes
    entries: tuple[IndexEntry, ...]
    fault: str = ""


class NotThisPack(Exception):
    """The object is no pack, or another one than its name says: nothing of it is used."""


def look_at_each(store: Store, keys: Sequence[str], vault_id: UUID, uid: UUID) -> SeenPack:
    """The first of a pack's files that is whole, else the one with the most good records. Raises as `look_through`."""
    seen: list[SeenPack] = []
    fault: Exception = NotThisPack("It is not there any more.")
    for key in keys:
        try:
            found = look_through(store, key, vault_id, uid)
        except (NotThisPack, NotFound) as wrong:
            fault = wrong if isinstance(wrong, NotThisPack) else fault
            continue
        if not found.fault:
            return found
        seen.append(found)
    if not seen:
        raise fault
    return max(seen, key=lambda found: len(found.entries))


def look_through(store: Store, key: str, vault_id: UUID, uid: UUID) -> SeenPack:
    """Read a pack from its beginning to its end. Raises NotThisPack, StoreError, OSError.

    Memory: one record, and the index.
    """
    with closing(store.open(key)) as file:
        size = file.seek(0, io.SEEK_END)

        def read_at(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        _check_header(read_at, vault_id, uid)
        try:
            entries, fault = read_index(read_at, size), ""
        except FormatError as wrong:
            entries = list(salvage_records(read_at, size))
            fault = f"Its index cannot be read ({wrong.why}); {len(entries)} whole records were found in it."
        return _read_through(file, SeenPack(uid, key, size, b"", tuple(entries), fault))


def _check_header(read_at: Callable[[int, int], bytes], vault_id: UUID, uid: UUID) -> None:
    try:
        header = decode_pack_header(read_at(0, PACK_HEADER_SIZE))
    except FormatError as fault:
        raise NotThisPack(f"It is no pack: {fault.why}.") from None
    if (header.vault_id, header.pack_uid) != (vault_id.bytes, uid.bytes):
        raise NotThisPack("It is another pack: its header names another vault or id.")


def _read_through(file: BinaryIO, seen: SeenPack) -> SeenPack:
    """Hash the whole, and keep those records whose bytes are right."""
    whole, good = blake3(), []
    file.seek(0)
    position = 0
    for entry in seen.entries:
        head = entry.offset - RECORD_HEADER_SIZE
        for piece in _pieces(file, head - position):
            whole.update(piece)
        data = file.read(RECORD_HEADER_SIZE + entry.length)
        whole.update(data)
        position = head + len(data)
        if _agrees(data, entry):
            good.append(entry)
    for piece in _pieces(file, seen.size - position):
        whole.update(piece)
    bad = len(seen.entries) - len(good)
    fault = seen.fault or (f"{bad} of its {len(seen.entries)} records are damaged." if bad else "")
    return SeenPack(seen.uid, seen.key, seen.size, whole.digest(), tuple(good), fault)


def _pieces(file: BinaryIO, length: int) -> Iterator[bytes]:
    while length > 0 and (piece := file.read(min(PIECE, length))):
        length -= len(piece)
        yield piece


def _agrees(data: bytes, entry: IndexEntry) -> bool:
    try:
        header = decode_record_header(data[:RECORD_HEADER_SIZE])
    except FormatError:
        return False
    same = (header.kind, header.id, header.length, header.digest) == (entry.kind, entry.id, entry.length, entry.digest)
    return same and blake3(memoryview(data)[RECORD_HEADER_SIZE:]).digest() == entry.digest


def register(source: Source, vault: Vault, seen: SeenPack) -> Pack:
    """Write a pack's rows and move its records into the vault's index. In the vault's tenant scope; repeatable."""
    now = timezone.now()
    row = {
        "tenant_id": vault.tenant_id,
        "vault": vault,
        "spool": SPOOL,
        "place": PackPlace.TARGET if source.is_home else PackPlace.REMOTE,
        "path": seen.key,
        "state": PackState.DAMAGED if seen.fault else PackState.VERIFIED,
        "records": len(seen.entries),
        "bytes": seen.size,
        "digest": seen.digest,
        "fault": seen.fault[:500],
        "sealed_at": now,
        "verified_at": now,
        "scrubbed_at": now,
    }
    with transaction.atomic():
        pack, made = Pack.objects.get_or_create(uid=seen.uid, defaults=row)
        if not made and pack.place in NOT_HERE:
            # From the platform's own backup, of when the pack lay in a spool that is gone.
            Pack.objects.filter(pk=pack.pk).update(**{**row, "deduplicated_at": None})
            made = True
        if made:
            _arrive(vault, pack, seen.entries)
            if not source.is_home:
                _note_copy(source, pack, seen)
    deduplicate_pack(pack.pk)
    return pack


def _arrive(vault: Vault, pack: Pack, entries: tuple[IndexEntry, ...]) -> None:
    """The records as arrivals: from there on they go the way of every record."""
    with connection.cursor() as cursor:
        for start in range(0, len(entries), MAX_ARRIVALS):
            batch = entries[start : start + MAX_ARRIVALS]
            values: dict[str, Any] = {
                "vault": vault.number,
                "session": NO_SESSION,
                "pack": pack.pk,
                "ids": [entry.id for entry in batch],
                "kinds": [entry.kind for entry in batch],
                "offsets": [entry.offset for entry in batch],
                "lengths": [entry.length for entry in batch],
            }
            cursor.execute(INSERT_SQL, values)


def _note_copy(source: Source, pack: Pack, seen: SeenPack) -> None:
    now = timezone.now()
    said = {
        "tenant_id": pack.tenant_id,
        "state": CopyState.GOOD,
        "key": seen.key,
        "bytes": seen.size,
        "written_at": now,
        "checked_at": now,
        "fault": seen.fault[:500],
    }
    Copy.objects.update_or_create(pack=pack, target=source.target, defaults=said)
