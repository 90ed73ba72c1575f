"""Emptying: packs that nothing names any more. They are marked; their files go after a grace (unlinking.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from backup_platform.catalog.chunk_index import vault_lock
from backup_platform.catalog.leases import lock_in_order
from backup_platform.catalog.models import Pack
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

GRACE = timedelta(hours=1)
"""Readers that looked a place up a moment ago may still open the file. Not a defence: rows decide, not this."""
BATCH = 200

NAMED_SQL = """
    SELECT asked.pack FROM unnest(%(packs)s::bigint[]) AS asked(pack)
     WHERE EXISTS (SELECT 1 FROM catalog_chunk c WHERE c.vault = %(vault)s AND c.pack = asked.pack)
        OR EXISTS (SELECT 1 FROM catalog_arrival a WHERE a.pack = asked.pack)
        OR EXISTS (SELECT 1 FROM catalog_spare s WHERE s.pack = asked.pack)
"""
EMPTY_SQL = """
    SELECT p.id FROM catalog_pack p
     WHERE p.vault_id = %(vault_id)s AND p.state IN ('verified', 'damaged') AND p.place IN ('target', 'remote')
       AND p.deduplicated_at IS NOT NULL AND p.unlink_at IS NULL AND p.id > %(after)s
       AND (%(only)s::bigint[] IS NULL OR p.id = ANY(%(only)s::bigint[]))
       AND NOT EXISTS (SELECT 1 FROM catalog_chunk c WHERE c.vault = %(vault)s AND c.pack = p.id)
       AND NOT EXISTS (SELECT 1 FROM catalog_arrival a WHERE a.pack = p.id)
       AND NOT EXISTS (
           SELECT 1 FROM catalog_spare s
             JOIN catalog_chunk c ON c.vault = %(vault)s AND c.id = s.id
             JOIN catalog_pack h ON h.id = c.pack
            WHERE s.pack = p.id
              AND (c.state = 2 OR h.state <> 'verified' OR h.place IN ('lost', 'gone') OR h.unlink_at IS NOT NULL))
     ORDER BY p.id LIMIT %(limit)s
"""
"""The last condition keeps a spare that may be better than what the index points at."""


@dataclass(frozen=True, slots=True)
class Emptied:
    """How many packs nothing names any more, and the bytes of one file of each."""

    packs: int = 0
    bytes: int = 0


def release_packs(
    vault: Vault,
    turn: Turn,
    *,
    grace: timedelta = GRACE,
    only: Sequence[int] | None = None,
    successor: int | None = None,
) -> Emptied:
    """Mark the packs that nothing names any more for removal after the grace, and forget the spares in them.

    `only` narrows it to these; `successor` is the pack that their records were moved to.
    """
    packs, size, after = 0, 0, 0
    while True:
        turn.check()
        with vault_lock(vault.number, shared=False):
            ids = _empty(vault, after, only)
            if not ids:
                return Emptied(packs, size)
            released = lock_in_order(Pack.objects.filter(pk__in=ids, unlink_at__isnull=True))
            size += sum(released.values_list("bytes", flat=True))
            packs += released.update(unlink_at=timezone.now() + grace, replaced_by=successor)
            _forget_spares(ids)
        after = ids[-1]


def named_packs(vault_number: int, packs: Sequence[int]) -> set[int]:
    """Those of the packs of which any row says that a record is in them."""
    with connection.cursor() as cursor:
        cursor.execute(NAMED_SQL, {"vault": vault_number, "packs": list(packs)})
        return {row[0] for row in cursor.fetchall()}


def _empty(vault: Vault, after: int, only: Sequence[int] | None) -> list[int]:
    question: dict[str, Any] = {"vault": vault.number, "vault_id": vault.pk, "after": after, "limit": BATCH}
    with connection.cursor() as cursor:
        cursor.execute(EMPTY_SQL, {**question, "only": None if only is None else list(only)})
        return [row[0] for row in cursor.fetchall()]


def _forget_spares(ids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM catalog_spare WHERE pack = ANY(%s::bigint[])", [ids])
