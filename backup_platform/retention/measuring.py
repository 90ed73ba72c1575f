"""How many bytes would be freed if some snapshots went: set arithmetic over bitmaps, one vault at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import binary_cursor, check_vault_in_scope
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.vaults.models import Vault

LOT = 50_000
AT_ONCE = 200
"""Bitmaps read from the database at a time: one may be megabytes."""
GONE = (SnapshotState.EXPIRED, SnapshotState.RECLAIMED)

SUM_SQL = """
    SELECT coalesce(sum(length), 0), count(*) FROM catalog_chunk WHERE vault = %s AND number = ANY(%b::bigint[])
"""


@dataclass(slots=True)
class Freed:
    """What goes when snapshots go: records that nothing else needs."""

    bytes: int = 0
    records: int = 0
    unsettled: int = 0
    """Snapshots that stay and whose needs are not known yet: with any, less may be freed than is said."""


def freed_by(dropping: Iterable[Snapshot]) -> Freed:
    """What these snapshots alone need, of all that neither they nor an expired one need as well. In bytes as stored."""
    by_vault: dict[UUID, set[UUID]] = defaultdict(set)
    for one in dropping:
        by_vault[one.vault_id].add(one.pk)
    found = Freed()
    for vault in Vault.objects.filter(pk__in=by_vault):
        _add(found, vault, by_vault[vault.pk])
    return found


def _add(found: Freed, vault: Vault, dropping: set[UUID]) -> None:
    goes, stays = BitMap64(), BitMap64()
    there = Snapshot.objects.filter(vault_id=vault.pk).exclude(state__in=GONE)
    for pk, bitmap in there.values_list("pk", "bitmap").iterator(chunk_size=AT_ONCE):
        if bitmap is None:
            found.unsettled += pk not in dropping
        elif pk in dropping:
            goes |= BitMap64.deserialize(bytes(bitmap))
        else:
            stays |= BitMap64.deserialize(bytes(bitmap))
    numbers = iter(goes - stays)
    check_vault_in_scope(vault.number)
    with binary_cursor() as cursor:
        while lot := list(islice(numbers, LOT)):
            cursor.execute(SUM_SQL, [vault.number, lot], binary=True)
            row = cursor.fetchone()
            assert row is not None, "a sum has one row"
            found.bytes += int(row[0])
            found.records += int(row[1])
