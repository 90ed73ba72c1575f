"""What a snapshot needs: its reference blocks and every id that they list, streamed block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from django.db import connection
from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import batches
from backup_platform.catalog.errors import InvalidCommit
from backup_platform.catalog.models import Snapshot
from backup_platform.catalog.present import MAX_QUESTION, missing_ids
from backup_platform.catalog.reading import PackReader, is_block
from protocol.stored.blocks import decode_block
from protocol.stored.errors import FormatError
from protocol.stored.fields import DIGEST_SIZE

MAX_TOLD_MISSING = 30_000
"""Ids told at once: they fit a message's body; an agent that lacks more asks again by committing again."""

REVIVE_BATCH = 10_000
REVIVE_SQL = """
    UPDATE catalog_chunk c SET state = 0
      FROM (SELECT number FROM catalog_chunk
             WHERE vault = %(vault)s AND number = ANY(%(numbers)s::bigint[]) AND state = 1
             ORDER BY number FOR UPDATE) AS needed
     WHERE c.vault = %(vault)s AND c.number = needed.number
"""
CONDEMNED_SQL = "SELECT id, number FROM catalog_chunk WHERE vault = %s AND id = ANY(%s::bytea[]) AND state = 1"


def block_ids(snapshot: Snapshot) -> list[bytes]:
    """The ids of a snapshot's reference blocks, in manifest order."""
    data = bytes(snapshot.blocks)
    return [data[i : i + DIGEST_SIZE] for i in range(0, len(data), DIGEST_SIZE)]


def find_lacking(vault_number: int, blocks: Iterable[bytes], *, revive: bool) -> list[bytes]:
    """The ids among these blocks, and those that they list, that the vault lacks; at most some 30,000 are told.

    Condemned ids count as there, since a commit revives them: with `revive` that is done here if nothing is lacking,
    for which the caller holds the vault's lock. A block that cannot be read whole counts as lacking. InvalidCommit when
    it is no block.
    """
    unique = list(dict.fromkeys(blocks))
    condemned = BitMap64()
    lacking = dict.fromkeys(_absent(vault_number, unique, condemned))
    readable = [block for block in unique if block not in lacking]
    asked: list[bytes] = []  # blocks of small trees list few ids each: a question takes those of many
    for block, ids in read_blocks(vault_number, readable):
        if ids is None:
            lacking[block] = None
            continue
        asked += ids
        if len(asked) >= MAX_QUESTION:
            lacking.update(dict.fromkeys(_absent(vault_number, asked, condemned)))
            asked.clear()
        if len(lacking) >= MAX_TOLD_MISSING:
            break
    lacking.update(dict.fromkeys(_absent(vault_number, asked, condemned)))
    if revive and not lacking:
        revive_numbers(vault_number, condemned)
    return list(lacking)[:MAX_TOLD_MISSING]


def revive_numbers(vault_number: int, numbers: BitMap64) -> int:
    """Bring the condemned chunks of these numbers back; how many there were. The caller holds the vault's lock.

    In the order of their numbers: two commits that need the same ones wait for each other, and never both.
    """
    revived = 0
    rest = list(numbers)
    with connection.cursor() as cursor:
        for start in range(0, len(rest), REVIVE_BATCH):
            cursor.execute(REVIVE_SQL, {"vault": vault_number, "numbers": rest[start : start + REVIVE_BATCH]})
            revived += cursor.rowcount
    return revived


def read_blocks(vault_number: int, blocks: Sequence[bytes]) -> Iterator[tuple[bytes, list[bytes] | None]]:
    """Each block's id with the ids that it lists, or None when no copy of it can be read whole."""
    for found in PackReader(vault_number, is_block).read(blocks):
        yield found.id, None if found.record is None else _listed(found.record.sealed)


def _listed(data: bytes) -> list[bytes]:
    try:
        return decode_block(data)
    except FormatError as fault:
        raise InvalidCommit(str(fault)) from None


def _absent(vault_number: int, ids: Sequence[bytes], condemned: BitMap64) -> list[bytes]:
    """Those of the ids that are neither present nor condemned; the numbers of condemned ones are added."""
    absent: list[bytes] = []
    for batch in batches(ids, MAX_QUESTION):
        missing = missing_ids(vault_number, batch)
        if missing:
            missing -= _condemned(vault_number, missing, condemned)
        absent += [record_id for record_id in batch if record_id in missing]
    return absent


def _condemned(vault_number: int, ids: set[bytes], numbers: BitMap64) -> set[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(CONDEMNED_SQL, [vault_number, list(ids)])
        rows = [(bytes(row[0]), row[1]) for row in cursor]
    numbers.update(number for _, number in rows)
    return {record_id for record_id, _ in rows}
