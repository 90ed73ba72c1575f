"""Finishing an open pack that its writer could not: after a fault, and at the start of a gateway.

The rule (docs/decisions/0071, 0165): rows say what was acknowledged, and it is always a beginning of the file. That
beginning is copied, digest by digest, into a new file with the same id and the same offsets, which is sealed as usual;
the old file is never written or fsynced again. Bytes after the last row were never acknowledged and are left behind. A
row without its bytes is damage: it is reported, and the old file is set aside instead of removed. What is whole behind
it is found by the rows that come after it, and keeps its offset: nameless records fill the place of what is not.

Every step may be repeated: until the row says *sealed*, the same call does the same again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import structlog
from blake3 import blake3
from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import arrivals
from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.catalog.work import ask_to_deduplicate
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.pack_writer import PackWriter, Record, SealedFile
from backup_platform.gateway.resync import ReadAt, fill, scan
from backup_platform.gateway.spool import NEW, OPEN, SEALED, SET_ASIDE
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.errors import FormatError
from protocol.stored.packs import RECORD_HEADER_SIZE, IndexEntry, read_index

log = structlog.get_logger(__name__)

DIGEST_STEP = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class UnfinishedPack:
    """An open row, and where its file should be: `path` without the suffix that says how far it is."""

    pack_id: int
    uid: UUID
    vault_id: UUID
    tenant_id: UUID
    path: Path

    @classmethod
    def of(cls, row: Pack, directory: Path) -> UnfinishedPack:
        """From a row whose file is in this spool directory."""
        name = Path(row.path).name.removesuffix(OPEN)
        return cls(row.pk, row.uid, row.vault_id, row.tenant_id, directory / name)


@dataclass(slots=True)
class Comparison:
    """Rows against bytes: `kept` are whole records up to the last row's, `lost` are rows without their bytes."""

    kept: list[IndexEntry] = field(default_factory=list)
    lost: list[bytes] = field(default_factory=list)
    unacknowledged: int = 0


def finish_pack(files: FileLayer, pack: UnfinishedPack) -> None:
    """Bring an open pack to *sealed*, or discard it when nothing of it was acknowledged.

    Raises PackDead when the disk refuses the copy, and database errors: call again later. Nobody else may write to it.
    """
    with tenant_scope(pack.tenant_id):
        rows = arrivals.rows_to_finish(pack.pack_id)
        if rows is None:
            return  # sealed by a call whose answer was lost; by now its file may have been moved
        sealed = _read_sealed(files, pack)
        if sealed is None:
            sealed = _remake(files, pack, rows)
        if sealed is None:
            return
        arrivals.seal_pack(pack.pack_id, sealed.digest, sealed.size, sealed.records)
    for suffix in (OPEN, NEW):
        files.unlink(_path(pack, suffix))


def _remake(files: FileLayer, pack: UnfinishedPack, rows: list[arrivals.Arrival]) -> SealedFile | None:
    """The sealed copy of what the rows acknowledge; None when there is nothing left to seal."""
    source = _path(pack, OPEN)
    with _reading(source) as (read_at, size):
        compared = compare(scan(read_at, size, rows), rows)
        if compared.lost:
            _keep_evidence(files, pack)
            _report(pack, compared)
        if not compared.kept:
            _discard(files, pack, damaged=bool(compared.lost))
            return None
        files.unlink(_path(pack, NEW))
        writer = PackWriter(files, pack.vault_id, pack.uid, _path(pack, NEW))
        try:
            for entry in compared.kept:
                fill(writer, entry.offset - RECORD_HEADER_SIZE)
                writer.append([_record(read_at, entry)])
            sealed = writer.seal()
        finally:
            writer.close()
    if compared.lost:
        files.rename(source, _path(pack, SET_ASIDE))
    log.info(
        "pack finished from its acknowledged part",
        pack=pack.uid.hex[:12],
        records=sealed.records,
        unacknowledged=compared.unacknowledged,
        lost=len(compared.lost),
    )
    return sealed


def settle_leftover(files: FileLayer, path: Path, row: Pack) -> None:
    """What becomes of an open file whose row is not open: removed only if it is not the pack's only copy.

    Without the sealed name beside it, a power cut took a rename back (then it is done again), or nobody knows.
    """
    sealed = path.with_suffix(SEALED)
    if sealed.exists() or row.place == PackPlace.TARGET:
        files.unlink(path)
    elif _digest_of(path) == bytes(row.digest):
        files.rename(path, sealed)
        files.fsync_directory(path.parent)
    else:
        log.error("the open file of a pack whose sealed file is gone was set aside", pack=row.uid.hex[:12])
        files.rename(path, path.with_suffix(SET_ASIDE))


def compare(found: list[IndexEntry], rows: list[arrivals.Arrival]) -> Comparison:
    """Which records to keep, which rows lack their bytes."""
    at = {entry.offset: entry for entry in found}
    result = Comparison()
    end = 0
    for row in rows:
        entry = at.get(row.offset)
        if entry is not None and (entry.id, entry.length, entry.kind) == (row.id, row.length, row.kind):
            end = max(end, entry.offset + entry.length)
        else:
            result.lost.append(row.id)
    result.kept = [entry for entry in found if entry.offset < end]
    result.unacknowledged = len(found) - len(result.kept)
    return result


def _record(read_at: ReadAt, entry: IndexEntry) -> Record:
    payload = read_at(entry.offset, entry.length)
    if blake3(payload).digest() != entry.digest:
        raise OSError("a record changed between two reads")
    return Record(entry.kind, entry.id, entry.digest, payload)


def _keep_evidence(files: FileLayer, pack: UnfinishedPack) -> None:
    """Give the file a name that nothing removes, before its rows go: a crash in between must not lose it."""
    if _path(pack, OPEN).exists():
        files.link(_path(pack, OPEN), _path(pack, SET_ASIDE))
        files.fsync_directory(pack.path.parent)


def _report(pack: UnfinishedPack, compared: Comparison) -> None:
    fault = f"{len(compared.lost)} records that were acknowledged were not on the disk when the gateway started again."
    log.error(
        "acknowledged records are not on the disk any more: the machine is asked to send them again",
        pack=pack.uid.hex[:12],
        lost=len(compared.lost),
        first=compared.lost[0].hex()[:12],
    )
    with transaction.atomic():
        arrivals.report_loss(pack.pack_id, compared.lost)
        row = Pack.objects.filter(pk=pack.pack_id)
        row.update(fault=fault)
        if not compared.kept:
            row.update(state=PackState.DAMAGED, place=PackPlace.LOST)
            ask_to_deduplicate(row.get())  # there is nothing to move, but snapshots wait for it
        subject, lost = f"pack:{pack.uid}", len(compared.lost)
        record_audit("pack.loss_found", actor="gateway", object=subject, tenant=pack.tenant_id, lost=lost)


def _discard(files: FileLayer, pack: UnfinishedPack, *, damaged: bool) -> None:
    if damaged:
        if _path(pack, OPEN).exists():
            files.rename(_path(pack, OPEN), _path(pack, SET_ASIDE))
        files.unlink(_path(pack, OPEN))  # renaming does nothing where both are names of one file
        return
    arrivals.discard_pack(pack.pack_id)
    for suffix in (OPEN, NEW):
        files.unlink(_path(pack, suffix))


def _read_sealed(files: FileLayer, pack: UnfinishedPack) -> SealedFile | None:
    """The file under its final name, if the crash came between the rename and the row. Its name is durable then.

    One whose index is damaged gets its open name back, so that its records are looked at one by one.
    """
    path = _path(pack, SEALED)
    if not path.exists():
        return None
    with _reading(path) as (read_at, size):
        try:
            count = len(read_index(read_at, size))
        except FormatError:
            if not _path(pack, OPEN).exists():
                files.rename(path, _path(pack, OPEN))
            return None
        digest = _digest(read_at, size)
    files.fsync_directory(path.parent)
    return SealedFile(digest, size, count)


def _digest_of(path: Path) -> bytes:
    with _reading(path) as (read_at, size):
        return _digest(read_at, size)


def _digest(read_at: ReadAt, size: int) -> bytes:
    digest = blake3()
    for offset in range(0, size, DIGEST_STEP):
        digest.update(read_at(offset, DIGEST_STEP))
    return digest.digest()


@contextmanager
def _reading(path: Path) -> Iterator[tuple[ReadAt, int]]:
    """Reads what the disk holds: the kernel's clean pages, which a failed fsync leaves behind, are dropped first."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield (lambda offset, length: b""), 0
        return
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        yield (lambda offset, length: os.pread(fd, length, offset)), os.fstat(fd).st_size
    finally:
        os.close(fd)


def _path(pack: UnfinishedPack, suffix: str) -> Path:
    return pack.path.with_name(pack.path.name + suffix)
