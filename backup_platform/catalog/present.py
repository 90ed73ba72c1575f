"""Which ids a vault has, and where: the one query behind questions, commits and restores.

An id is present when the vault's index holds it live (not condemned, not damaged) or when an arrival row of any session
names it. Deduplication moves rows from the second table to the first in one transaction, so one statement sees each id
in at least one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backup_platform.catalog.chunk_index import ChunkState, binary_cursor, check_vault_in_scope

MAX_QUESTION = 4_096
"""Ids in one question: keeps a statement under half a megabyte and its plan an index scan."""

PRESENT_SQL = """
    SELECT id FROM catalog_chunk WHERE vault = %(vault)s AND id = ANY(%(ids)b::bytea[]) AND state = 0
    UNION ALL
    SELECT id FROM catalog_arrival WHERE vault = %(vault)s AND id = ANY(%(ids)b::bytea[])
"""

PLACES_SQL = """
    SELECT id, kind, pack, "offset", length, 0 AS rank FROM catalog_chunk
     WHERE vault = %(vault)s AND id = ANY(%(ids)b::bytea[]) AND state = ANY(%(states)s::smallint[])
    UNION ALL
    SELECT id, kind, pack, "offset", length, 1 FROM catalog_arrival
     WHERE vault = %(vault)s AND id = ANY(%(ids)b::bytea[])
    ORDER BY rank
"""

SPARES_SQL = """
    SELECT id, pack, "offset", length FROM catalog_spare WHERE vault = %(vault)s AND id = ANY(%(ids)b::bytea[])
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record's sealed bytes are: `offset` is their first byte in the pack, after the record's header."""

    pack_id: int
    offset: int
    length: int
    kind: int


def missing_ids(vault_number: int, ids: Sequence[bytes]) -> set[bytes]:
    """Those of at most 4,096 ids (32 bytes each) that the vault lacks. One index scan per table, one partition.

    ScopeError outside the vault's tenant scope.
    """
    if not ids:
        return set()
    with binary_cursor() as cursor:
        cursor.execute(PRESENT_SQL, _question(vault_number, ids), binary=True)
        present = {row[0] for row in cursor}
    return set(ids) - present


def find_places(vault_number: int, ids: Sequence[bytes]) -> dict[bytes, Place]:
    """Where each present id of at most 4,096 is; the index goes before arrivals. Absent ids have no entry."""
    places: dict[bytes, Place] = {}
    for record_id, place in _find_places(vault_number, ids, [ChunkState.LIVE]):
        places.setdefault(record_id, place)
    return places


def find_all_places(vault_number: int, ids: Sequence[bytes]) -> list[tuple[bytes, Place]]:
    """Every copy of each id that may still be read, the index's first: condemned ones are there until removed, and of
    what is called damaged another place of its pack may have the right bytes (whoever reads compares digests)."""
    return _find_places(vault_number, ids, list(ChunkState))


def _find_places(vault_number: int, ids: Sequence[bytes], states: list[ChunkState]) -> list[tuple[bytes, Place]]:
    if not ids:
        return []
    with binary_cursor() as cursor:
        question = {**_question(vault_number, ids), "states": [int(state) for state in states]}
        cursor.execute(PLACES_SQL, question, binary=True)
        return [(row[0], Place(row[2], row[3], row[4], row[1])) for row in cursor]


def find_spares(vault_number: int, ids: Sequence[bytes]) -> list[tuple[bytes, Place]]:
    """The copies of these ids that lost a race and were kept (kind 0: a spare has its id's kind)."""
    if not ids:
        return []
    with binary_cursor() as cursor:
        cursor.execute(SPARES_SQL, _question(vault_number, ids), binary=True)
        return [(row[0], Place(row[1], row[2], row[3], 0)) for row in cursor]


def _question(vault_number: int, ids: Sequence[bytes]) -> dict[str, Any]:
    if len(ids) > MAX_QUESTION:
        raise ValueError(f"A question names at most {MAX_QUESTION} ids, not {len(ids)}.")
    check_vault_in_scope(vault_number)
    return {"vault": vault_number, "ids": list(ids)}
