"""Removing: rows of condemned chunks go, once nobody can count on them any more and nothing needs them again.

The union is computed again first, and brought up to date under the exclusive lock before each batch. What is needed
again, or has arrived again, is revived. The bytes stay: packs that nothing names any more are emptying.py's.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection
from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import ChunkState, vault_lock
from backup_platform.catalog.models import LAW_3_OPEN, Session, Snapshot, SnapshotState
from backup_platform.catalog.needs import revive_numbers
from backup_platform.upkeep.chunk_numbers import numbers_between, slices, spans
from backup_platform.upkeep.condemning import check_turn, note
from backup_platform.upkeep.marking import Union, all_needs_known, check_needs_known
from backup_platform.upkeep.models import ReclaimRound, RoundState
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

CONDEMNED, DAMAGED = ChunkState.CONDEMNED, ChunkState.DAMAGED

REMOVE_SQL = """
    WITH gone AS (
        DELETE FROM catalog_chunk c
         WHERE c.vault = %(vault)s AND c.number = ANY(%(numbers)s::bigint[]) AND c.state = ANY(%(states)s::smallint[])
           AND NOT EXISTS (SELECT 1 FROM catalog_arrival a WHERE a.vault = c.vault AND a.id = c.id)
        RETURNING c.id, c.length),
    spares AS (
        DELETE FROM catalog_spare s USING gone WHERE s.vault = %(vault)s AND s.id = gone.id),
    wanted AS (
        DELETE FROM catalog_wanted w USING gone WHERE w.vault_id = %(vault_id)s AND w.chunk_id = gone.id)
    SELECT count(*), coalesce(sum(length), 0) FROM gone
"""


def sessions_to_wait_for(round_: ReclaimRound) -> list[UUID]:
    """The sessions that began before the condemnation and have not ended."""
    began = Session.objects.filter(pk__in=round_.sessions, state__in=LAW_3_OPEN)
    return list(began.order_by("begun_at").values_list("pk", flat=True))


def snapshots_to_wait_for(round_: ReclaimRound) -> list[UUID]:
    """The snapshots that had no bitmap at the condemnation and still have none."""
    open_ = Snapshot.objects.filter(pk__in=round_.unsettled, bitmap__isnull=True)
    return list(open_.exclude(state=SnapshotState.RECLAIMED).values_list("pk", flat=True))


def remove(round_: ReclaimRound, vault: Vault, union: Union, turn: Turn) -> None:
    """Delete the rows of everything that is still condemned in the round's range and that the union does not name."""
    for start, end in spans(round_.position, round_.end):
        turn.check()
        for batch in slices(numbers_between(vault.number, start, end, [CONDEMNED, DAMAGED])):
            turn.check()
            with vault_lock(vault.number, shared=False):
                check_turn(round_, RoundState.REMOVING)
                check_needs_known(vault)
                union.catch_up()
                _remove_batch(round_, vault, batch, union.numbers)
        ReclaimRound.objects.filter(pk=round_.pk, state=RoundState.REMOVING).update(position=end)
        round_.position = end


def _remove_batch(round_: ReclaimRound, vault: Vault, batch: BitMap64, needed: BitMap64) -> None:
    revived = revive_numbers(vault.number, batch & needed)
    going = batch - needed
    # A damaged row stands for a wish to get its bytes again, so it stays while any snapshot's needs are not known.
    states = [int(CONDEMNED), int(DAMAGED)] if all_needs_known(vault) else [int(CONDEMNED)]
    question: dict[str, Any] = {"vault": vault.number, "vault_id": vault.pk, "numbers": list(going), "states": states}
    with connection.cursor() as cursor:
        cursor.execute(REMOVE_SQL, question)
        count, size = cursor.fetchone()
    # What is left of the condemned ones has arrived again.
    revived += revive_numbers(vault.number, going)
    note(round_, removed=count, removed_bytes=int(size), revived=revived)
