"""When records turn out damaged or lost: what is said about their ids, who is asked to send them again, what follows.

All of it is one transaction under the vault's exclusive lock: an id stops being present, its uploader finds it among
the wanted, snapshots that need it stop being good, and the vault's catalogue generation rises, so that no agent goes on
trusting what it has cached. An id with another intact copy is not lost: that copy takes over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F
from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import batches, vault_lock
from backup_platform.catalog.models import Pack, PackState, Snapshot, SnapshotState, Wanted
from backup_platform.catalog.present import MAX_QUESTION, Place, find_spares, missing_ids
from backup_platform.catalog.reading import read_copy
from backup_platform.catalog.work import wake_waiting_snapshots
from backup_platform.fleet.models import Machine
from backup_platform.vaults.models import Vault

logger = logging.getLogger(__name__)

GOOD = (SnapshotState.RECEIVED, SnapshotState.VERIFIED)

ROWS_SQL = """
    SELECT id, kind, "offset", length FROM catalog_arrival WHERE pack = %(pack)s
    UNION ALL
    SELECT id, kind, "offset", length FROM catalog_chunk WHERE vault = %(vault)s AND pack = %(pack)s AND state <> 2
    UNION ALL
    SELECT id, 0, "offset", length FROM catalog_spare WHERE pack = %(pack)s
    ORDER BY 3
"""
ARRIVED_SQL = """
    DELETE FROM catalog_arrival a USING unnest(%(ids)s::bytea[], %(offsets)s::bigint[]) AS bad(id, "offset")
     WHERE a.vault = %(vault)s AND a.pack = %(pack)s AND a.id = bad.id AND a."offset" = bad."offset" RETURNING a.id
"""
SPARE_SQL = ARRIVED_SQL.replace("catalog_arrival", "catalog_spare")
INDEXED_SQL = """
    SELECT c.id, c.uploader
      FROM catalog_chunk c JOIN unnest(%(ids)s::bytea[], %(offsets)s::bigint[]) AS bad(id, "offset")
           ON c.id = bad.id AND c."offset" = bad."offset"
     WHERE c.vault = %(vault)s AND c.pack = %(pack)s AND c.state <> 2
"""
MOVE_SQL = 'UPDATE catalog_chunk SET pack = %s, "offset" = %s, length = %s, state = 0 WHERE vault = %s AND id = %s'
DROP_SPARE_SQL = 'DELETE FROM catalog_spare WHERE vault = %s AND id = %s AND pack = %s AND "offset" = %s'
POINTED_SQL = "SELECT EXISTS (SELECT 1 FROM catalog_chunk WHERE vault = %s AND pack = %s)"
NUMBERS_SQL = "SELECT number FROM catalog_chunk WHERE vault = %s AND id = ANY(%s::bytea[])"
MARK_SQL = "UPDATE catalog_chunk SET state = 2 WHERE vault = %s AND id = ANY(%s::bytea[])"


@dataclass(frozen=True, slots=True)
class Damage:
    """What came of a report: ids of which no intact copy is left, and how many another copy saved."""

    gone: frozenset[bytes]
    saved: int


@dataclass(frozen=True, slots=True)
class _Indexed:
    """A row of the index that pointed at a bad record."""

    id: bytes
    uploader: UUID


def rows_of_pack(pack: Pack) -> list[tuple[bytes, Place]]:
    """Every record that the catalogue looks for in a pack, by offset: arrivals, undamaged index rows, spares."""
    with connection.cursor() as cursor:
        cursor.execute(ROWS_SQL, {"pack": pack.pk, "vault": pack.vault.number})
        return [(bytes(row[0]), Place(pack.pk, row[2], row[3], row[1])) for row in cursor]


def is_pointed_at(pack: Pack) -> bool:
    """Whether a row of the index still names this pack, if only to say that its record there is damaged."""
    with connection.cursor() as cursor:
        cursor.execute(POINTED_SQL, [pack.vault.number, pack.pk])
        return bool(cursor.fetchone()[0])


def report_damage(pack: Pack, bad: Iterable[tuple[bytes, int]], fault: str) -> Damage:
    """Mark a pack damaged, and take its bad records (id, offset) out of what counts as present. Idempotent.

    Other copies are read before an id is given up. RecordUnavailable when a store is away: then nothing has changed.
    """
    with vault_lock(pack.vault.number, shared=False):
        Pack.objects.filter(pk=pack.pk).update(state=PackState.DAMAGED, fault=fault[:500])
        return _withdraw(pack, sorted(set(bad)))


def report_loss(pack: Pack, ids: Sequence[bytes]) -> Damage:
    """Take records out of what counts as present whose bytes a pack does not hold; a sealed pack becomes damaged."""
    wanted = frozenset(ids)
    bad = [(record_id, place.offset) for record_id, place in rows_of_pack(pack) if record_id in wanted]
    if pack.state != PackState.OPEN:
        return report_damage(pack, bad, "Records that were acknowledged are not in it.")
    with vault_lock(pack.vault.number, shared=False):
        return _withdraw(pack, bad)


def _withdraw(pack: Pack, bad: Sequence[tuple[bytes, int]]) -> Damage:
    question: dict[str, Any] = {
        "vault": pack.vault.number,
        "pack": pack.pk,
        "ids": [record_id for record_id, _ in bad],
        "offsets": [offset for _, offset in bad],
    }
    with connection.cursor() as cursor:
        cursor.execute(ARRIVED_SQL, question)
        touched = {bytes(row[0]) for row in cursor}
        cursor.execute(SPARE_SQL, question)
        cursor.execute(INDEXED_SQL, question)
        indexed = [_Indexed(bytes(row[0]), row[1]) for row in cursor]
        saved = _use_spares(pack.vault.number, [row.id for row in indexed])
        hurt = [row for row in indexed if row.id not in saved]
        cursor.execute(MARK_SQL, [pack.vault.number, [row.id for row in hurt]])
    touched |= {row.id for row in indexed}
    gone = _missing_of(pack.vault.number, sorted(touched))
    if gone:
        _follow_up(pack, gone, [row for row in hurt if row.id in gone])
    return Damage(frozenset(gone), len(touched) - len(gone))


def _use_spares(vault_number: int, ids: Sequence[bytes]) -> set[bytes]:
    """Point the index at an intact spare of each of these ids that has one; returns those."""
    saved: set[bytes] = set()
    for batch in batches(ids, MAX_QUESTION):
        for record_id, place in find_spares(vault_number, batch):
            if record_id in saved or read_copy(record_id, place) is None:
                continue
            with connection.cursor() as cursor:
                cursor.execute(MOVE_SQL, [place.pack_id, place.offset, place.length, vault_number, record_id])
                cursor.execute(DROP_SPARE_SQL, [vault_number, record_id, place.pack_id, place.offset])
            saved.add(record_id)
    return saved


def _missing_of(vault_number: int, ids: Sequence[bytes]) -> set[bytes]:
    missing: set[bytes] = set()
    for batch in batches(ids, MAX_QUESTION):
        missing |= missing_ids(vault_number, batch)
    return missing


def _follow_up(pack: Pack, gone: set[bytes], hurt: Sequence[_Indexed]) -> None:
    uploaders = {row.id: row.uploader for row in hurt}
    _want_again(pack, {record_id: uploaders.get(record_id, pack.machine_id) for record_id in gone})
    damaged = _mark_snapshots(pack.vault, _numbers_of(pack.vault.number, sorted(gone)))
    Vault.objects.filter(pk=pack.vault_id).update(generation=F("generation") + 1)
    wake_waiting_snapshots(pack.vault)
    logger.error(
        "Stored records are damaged.",
        extra={"pack": pack.uid.hex, "records": len(gone), "snapshots": damaged},
    )


def _want_again(pack: Pack, owners: dict[bytes, UUID | None]) -> None:
    known = set(
        Machine.objects.filter(pk__in={owner for owner in owners.values() if owner}).values_list("pk", flat=True)
    )
    rows = [
        Wanted(vault=pack.vault, machine_id=owner, chunk_id=record_id)
        for record_id, owner in sorted(owners.items())
        if owner is not None and owner in known
    ]
    Wanted.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)


def _numbers_of(vault_number: int, ids: Sequence[bytes]) -> BitMap64:
    """The numbers of these ids, also of those that were damaged before and whose last copy was an arrival."""
    numbers = BitMap64()
    with connection.cursor() as cursor:
        for batch in batches(ids, MAX_QUESTION):
            cursor.execute(NUMBERS_SQL, [vault_number, list(batch)])
            numbers.update(row[0] for row in cursor)
    return numbers


def _mark_snapshots(vault: Vault, numbers: BitMap64) -> int:
    """Mark every good snapshot damaged whose bitmap meets these numbers; those without one are checked later anyway."""
    if not numbers:
        return 0
    candidates = Snapshot.objects.filter(vault=vault, state__in=GOOD, bitmap__isnull=False).only("pk", "bitmap")
    hurt = [
        snapshot.pk
        for snapshot in candidates.iterator(chunk_size=50)
        if snapshot.bitmap is not None and BitMap64.deserialize(bytes(snapshot.bitmap)).intersect(numbers)
    ]
    return Snapshot.objects.filter(pk__in=hurt, state__in=GOOD).update(
        state=SnapshotState.DAMAGED, fault="Records that it needs are damaged; their machine is asked for them again."
    )
