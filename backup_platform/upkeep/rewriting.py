"""Rewriting: the used records of some packs are copied, digest by digest, into a new pack that then takes their place.

Copy → fsync → read back → switch of the rows → grace → unlink. Until the switch the new pack is an open row that
nothing names, so whatever breaks off leaves nothing but files that the row tells of (`clear_leftovers`). The switch is
guarded row by row: what was removed or moved meanwhile stays as it is.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog import stores
from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.leases import LEASE, held, pack_lease, pack_leases, renew_leases
from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.catalog.pack_check import Expected, check_pack
from backup_platform.catalog.present import Place
from backup_platform.catalog.reading import PackGone, open_pack_file, read_record
from backup_platform.gateway.errors import PackDead
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.pack_writer import PackWriter, Record, SealedFile
from backup_platform.storage.base import AlreadyThere, NoSpace, NotFound, StoreUnavailable
from backup_platform.upkeep.emptying import release_packs
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

SPOOL = "compact"
"""The directory beside the gateways' spools in which new packs are written; no gateway looks there."""
SPARE_ROOM = 64 * 1024 * 1024
SWITCH_BATCH = 10_000

ROWS_SQL = """
    SELECT id, kind, "offset", length FROM catalog_chunk
     WHERE vault = %s AND pack = %s AND state IN (0, 1) ORDER BY "offset"
"""
SWITCH_SQL = """
    UPDATE catalog_chunk c SET pack = %(new)s, "offset" = moved.now
      FROM unnest(%(ids)s::bytea[], %(packs)s::bigint[], %(before)s::bigint[], %(now)s::bigint[])
           AS moved(id, pack, before, now)
     WHERE c.vault = %(vault)s AND c.id = moved.id AND c.pack = moved.pack AND c."offset" = moved.before
       AND c.state IN (0, 1)
"""


class SourceDamaged(Exception):
    """A record of a pack does not read as it should: scrub's matter. Nothing was changed."""


class NoRoom(Exception):
    """The disk has no room for the new pack. Nothing was changed, and nothing is left behind."""


@dataclass(frozen=True, slots=True)
class _Move:
    """A record's old place (`place.pack_id`, `place.offset`) and its new offset."""

    id: bytes
    place: Place
    offset: int


def rewrite(vault: Vault, pack_ids: Sequence[int], turn: Turn, *, grace: timedelta) -> Pack:
    """Copy the used records of these packs into a new one and let it take their place; returns it.

    Raises NoRoom, SourceDamaged, RecordUnavailable (a pack is being moved, or away), TurnOver: then nothing changed.
    """
    with pack_leases(pack_ids) as sources:
        if len(sources) < len(pack_ids):
            raise RecordUnavailable("Somebody else is moving one of the packs.")
        new = _open_row(vault)
        try:
            moves, sealed = _write(new, vault, sources, turn)
            _place(new, vault, moves, sealed)
        except BaseException as fault:
            _discard(new)
            if isinstance(fault, (NoSpace, PackDead)) or _is_full(fault):
                raise NoRoom(_sentence(vault)) from fault
            raise
        _switch(vault, new, moves, sealed)
        release_packs(vault, turn, grace=grace, only=[pack.pk for pack in sources], successor=new.pk)
        with suppress(OSError):
            _work_file(new, ".pack").unlink(missing_ok=True)
        held(new).update(lease_owner="", lease_until=None)
        return Pack.objects.get(pk=new.pk)


def clear_leftovers(vault: Vault) -> int:
    """Remove what a compaction that broke off has left; how many packs. The rows tell, no directory is listed.

    The lease is taken first: whoever was only slow finds it gone when it would publish the pack.
    """
    over = Q(lease_until__isnull=True) | Q(lease_until__lt=timezone.now())
    left = Pack.objects.filter(over, vault=vault, spool=SPOOL, state=PackState.OPEN)
    done = 0
    for pack_id in list(left.values_list("pk", flat=True)):
        with suppress(RecordUnavailable), pack_lease(pack_id) as pack:
            if pack.state == PackState.OPEN:
                _discard(pack)
                done += 1
    return done


def _is_full(fault: BaseException) -> bool:
    return isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT)


def _open_row(vault: Vault) -> Pack:
    uid = uuid4()
    return Pack.objects.create(
        uid=uid,
        tenant_id=vault.tenant_id,
        vault=vault,
        spool=SPOOL,
        path=f"{SPOOL}/{uid.hex}.open",
        deduplicated_at=timezone.now(),  # nothing arrives in it, so no snapshot has to wait for it
        lease_owner=secrets.token_hex(8),
        lease_until=timezone.now() + LEASE,
    )


def _write(new: Pack, vault: Vault, sources: Sequence[Pack], turn: Turn) -> tuple[list[_Move], SealedFile]:
    files = FileLayer()
    path = _work_file(new, ".open")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.fsync_directory(path.parent.parent)
    rows = {pack.pk: _rows(vault, pack) for pack in sources}
    needed = sum(place.length for places in rows.values() for _, place in places)
    if files.free_bytes(path.parent) < needed + SPARE_ROOM:
        raise NoRoom(_sentence(vault))
    writer = PackWriter(files, vault.pk, new.uid, path)
    try:
        moves = [move for pack in sources for move in _copy(pack, rows[pack.pk], writer, turn)]
        if not renew_leases([new, *sources]):
            raise TurnOver
        return moves, writer.seal()
    finally:
        writer.close()


def _copy(pack: Pack, rows: Sequence[tuple[bytes, Place]], writer: PackWriter, turn: Turn) -> list[_Move]:
    moves = []
    try:
        with open_pack_file(pack) as file:
            for record_id, place in rows:
                turn.check()
                found = read_record(file, record_id, place)
                if found is None:
                    raise SourceDamaged(f"Pack {pack.uid.hex[:12]} holds a damaged record; scrub will see to it.")
                (entry,) = writer.append([Record(found.kind, found.id, found.digest, found.sealed)])
                moves.append(_Move(record_id, place, entry.offset))
    except PackGone:
        raise SourceDamaged(f"Pack {pack.uid.hex[:12]} is not where it should be; scrub will see to it.") from None
    return moves


def _rows(vault: Vault, pack: Pack) -> list[tuple[bytes, Place]]:
    with connection.cursor() as cursor:
        cursor.execute(ROWS_SQL, [vault.number, pack.pk])
        return [(bytes(row[0]), Place(pack.pk, row[2], row[3], row[1])) for row in cursor.fetchall()]


def _place(new: Pack, vault: Vault, moves: Sequence[_Move], sealed: SealedFile) -> None:
    """Give the file its name in the home store, and read it back from there."""
    target = stores.local_target()
    key = stores.pack_key(new.tenant_id, new.vault_id, new.uid)
    with suppress(AlreadyThere):
        target.adopt(key, _work_file(new, ".pack"))
    records = [(move.id, Place(new.pk, move.offset, move.place.length, move.place.kind)) for move in moves]
    with target.open(key) as file:
        report = check_pack(file, Expected(vault.pk, new.uid, sealed.size, sealed.digest, records))
    if not report.intact:
        raise StoreUnavailable(f"{key} does not read back as it was written: {report.fault}")


def _switch(vault: Vault, new: Pack, moves: Sequence[_Move], sealed: SealedFile) -> None:
    """Point the index at the new pack, under the vault's exclusive lock, some rows at a time.

    Both packs hold the records until all is done, so a crash in between costs nothing but space.
    """
    for start in range(0, max(len(moves), 1), SWITCH_BATCH):
        with vault_lock(vault.number, shared=False):
            if start == 0:
                _publish(new, sealed)
            _point(vault, new, moves[start : start + SWITCH_BATCH])


def _publish(new: Pack, sealed: SealedFile) -> None:
    now = timezone.now()
    opened = held(new).filter(state=PackState.OPEN)
    published = opened.update(
        state=PackState.VERIFIED,
        place=PackPlace.TARGET,
        path=stores.pack_key(new.tenant_id, new.vault_id, new.uid),
        digest=sealed.digest,
        bytes=sealed.size,
        records=sealed.records,
        sealed_at=now,
        verified_at=now,
        deduplicated_at=now,
        scrubbed_at=now,
    )
    if not published:
        raise TurnOver
    record_audit("pack.compacted", actor="compact", object=f"pack:{new.uid}", tenant=new.tenant_id,
                 records=sealed.records, bytes=sealed.size)  # fmt: skip


def _point(vault: Vault, new: Pack, moves: Sequence[_Move]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            SWITCH_SQL,
            {
                "vault": vault.number,
                "new": new.pk,
                "ids": [move.id for move in moves],
                "packs": [move.place.pack_id for move in moves],
                "before": [move.place.offset for move in moves],
                "now": [move.offset for move in moves],
            },
        )


def _discard(pack: Pack) -> None:
    """Remove the files of a pack that never took anything's place, then its row."""
    key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    with suppress(NotFound):
        stores.local_target().delete(key)
    for suffix in (".open", ".pack"):
        _work_file(pack, suffix).unlink(missing_ok=True)
    Pack.objects.filter(pk=pack.pk, state=PackState.OPEN, spool=SPOOL).delete()


def _work_file(pack: Pack, suffix: str) -> Path:
    return stores.spool_path(f"{SPOOL}/{pack.uid.hex}{suffix}")


def _sentence(vault: Vault) -> str:
    return (
        f"Compaction of vault {vault.name} needs room for a new pack, and the platform's disk is full or does not take "
        "it. Nothing was changed, and nothing is left behind; it is tried again later."
    )
