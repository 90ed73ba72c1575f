"""Which packs a restore needs, all at once: whoever waits for cold storage must not wait for one pack after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from django.db import connection
from pyroaring import BitMap64

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.chunk_index import batches, check_vault_in_scope
from backup_platform.catalog.errors import RecordCold
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.needs import block_ids
from backup_platform.catalog.present import MAX_QUESTION, find_places
from backup_platform.catalog.reading import PackReader, is_block
from backup_platform.tiering.thawing import Progress, thaw
from protocol.stored.blocks import decode_block

MOST_BLOCKS = 1_000
"""Blocks that are read for one question. A snapshot that has its bitmap needs none to be read."""
SLICE = 10_000
PACKS_SQL = "SELECT DISTINCT pack FROM catalog_chunk WHERE vault = %s AND number = ANY(%s::bigint[])"

BlockOf = Callable[[bytes], bytes | None]
"""A reference block by its id; None when no copy of it is whole. Raises RecordCold."""


def thaw_for(snapshot: Snapshot, blocks: Sequence[bytes], block_of: BlockOf, by: str) -> Progress:
    """Ask for what these blocks of a snapshot list (none: for all that it needs), and say how far that is. Audited.

    In the tenant scope in force. A block that is cold itself is asked for first: what it lists is known after that.
    """
    progress = thaw(_packs_of(snapshot, blocks, block_of), by)
    if progress.asked:
        record_audit(
            "restore.thaw_asked", actor=by, object=f"snapshot:{snapshot.pk}", tenant=snapshot.tenant_id,
            packs=progress.asked,
        )  # fmt: skip
    return progress


def block_reader(snapshot: Snapshot) -> BlockOf:
    """Blocks from their packs, for who has no cache of them."""

    def read(name: bytes) -> bytes | None:
        found = next(iter(PackReader(snapshot.vault.number, is_block).read([name])))
        return found.record.sealed if found.record is not None else None

    return read


def _packs_of(snapshot: Snapshot, blocks: Sequence[bytes], block_of: BlockOf) -> list[int]:
    if not blocks and snapshot.bitmap is not None:
        return sorted(_by_bitmap(snapshot))
    return sorted(_by_blocks(snapshot.vault.number, blocks or block_ids(snapshot)[:MOST_BLOCKS], block_of))


def _by_bitmap(snapshot: Snapshot) -> set[int]:
    number, packs = snapshot.vault.number, set[int]()
    check_vault_in_scope(number)
    needed = BitMap64.deserialize(bytes(snapshot.bitmap or b"")).to_array()
    with connection.cursor() as cursor:
        for start in range(0, len(needed), SLICE):
            cursor.execute(PACKS_SQL, [number, list(needed[start : start + SLICE])])
            packs.update(row[0] for row in cursor)
    return packs


def _by_blocks(vault_number: int, blocks: Iterable[bytes], block_of: BlockOf) -> set[int]:
    packs, ids = set[int](), set[bytes]()
    for name in blocks:
        try:
            block = block_of(name)
        except RecordCold:
            ids.add(name)
            continue
        ids.update(decode_block(block) if block is not None else ())
        if len(ids) >= MAX_QUESTION:
            packs |= _places(vault_number, ids)
            ids.clear()
    return packs | _places(vault_number, ids)


def _places(vault_number: int, ids: set[bytes]) -> set[int]:
    return {
        place.pack_id
        for batch in batches(list(ids), MAX_QUESTION)
        for place in find_places(vault_number, batch).values()
    }
