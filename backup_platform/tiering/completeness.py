"""Which snapshots are whole at a target: every pack that holds something they need has a good copy there.

Set arithmetic over the vault: the numbers that lie in packs without a good copy there, against each snapshot's bitmap.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone
from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import check_vault_in_scope
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState, SnapshotCopy, SnapshotState
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault

MOST_LACKING = 5_000
"""With more packs missing than this, nothing new is said: hardly a snapshot would be whole, and the sets are large."""
PAGE = 200

NUMBERS_SQL = "SELECT number FROM catalog_chunk WHERE vault = %s AND pack = ANY(%s) AND state <> 2"


def note_complete(target: Target) -> int:
    """Write down for each snapshot at a target whether it is whole there; how many rows changed."""
    with without_tenant_scope("a target may hold snapshots of several tenants"):
        rows = SnapshotCopy.objects.filter(target=target.pk, objects_at__isnull=False)
        vaults = set(rows.order_by().values_list("snapshot__vault", "tenant").distinct())
    changed = 0
    for vault_id, tenant_id in sorted(vaults):
        with tenant_scope(tenant_id):
            changed += _look_at_vault(vault_id, target)
    return changed


def _look_at_vault(vault_id: UUID, target: Target) -> int:
    vault = Vault.objects.get(pk=vault_id)
    lacking = _lacking(vault, target)
    mine = SnapshotCopy.objects.filter(target=target.pk, snapshot__vault=vault, objects_at__isnull=False)
    open_rows = mine.filter(complete_at__isnull=True, snapshot__state=SnapshotState.VERIFIED)
    if not lacking:
        whole = list(open_rows.values_list("pk", flat=True))
        return mine.filter(pk__in=whole).update(complete_at=timezone.now())
    if len(lacking) > MOST_LACKING:
        return 0
    numbers = _numbers(vault, lacking)
    whole = list(_ids(open_rows, numbers, meets=False))
    spoilt = list(_ids(mine.filter(complete_at__isnull=False), numbers, meets=True))
    changed = mine.filter(pk__in=whole).update(complete_at=timezone.now())
    return changed + mine.filter(pk__in=spoilt).update(complete_at=None)


def _lacking(vault: Vault, target: Target) -> list[int]:
    good = Copy.objects.filter(pack=OuterRef("pk"), target=target.pk, state=CopyState.GOOD)
    packs = Pack.objects.filter(vault=vault).exclude(place=PackPlace.GONE).exclude(state=PackState.OPEN)
    return list(packs.filter(~Exists(good)).values_list("pk", flat=True)[: MOST_LACKING + 1])


def _numbers(vault: Vault, packs: list[int]) -> BitMap64:
    check_vault_in_scope(vault.number)
    with connection.cursor() as cursor:
        cursor.execute(NUMBERS_SQL, [vault.number, packs])
        return BitMap64(row[0] for row in cursor)


def _ids(rows: QuerySet[SnapshotCopy], numbers: BitMap64, *, meets: bool) -> Iterator[int]:
    """The rows whose snapshot's needs meet these numbers, or do not."""
    for pk, bitmap in rows.values_list("pk", "snapshot__bitmap").iterator(chunk_size=PAGE):
        if bitmap is not None and BitMap64.deserialize(bytes(bitmap)).intersect(numbers) == meets:
            yield pk
