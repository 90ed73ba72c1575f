"""What a snapshot needs: its reference blocks and every id that they list, streamed block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from django.db import connection

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

REVIVE_SQL = """
    UPDATE catalog_chunk SET state = 0 WHERE vault = %s AND id = ANY(%s::bytea[]) AND state = 1 RETURNING id
"""
CONDEMNED_SQL = "SELECT id FROM catalog_chunk WHERE vault = %s AND id = ANY(%s::bytea[]) AND state = 1"


def block_ids(snapshot: Snapshot) -> list[bytes]:
    """The ids of a snapshot's reference blocks, in manifest order."""
    data = bytes(snapshot.blocks)
    return [data[i : i + DIGEST_SIZE] for i in range(0, len(data), DIGEST_SIZE)]


def find_lacking(vault_number: int, blocks: Iterable[bytes], *, revive: bool) -> list[bytes]:
    """The ids among these blocks, and those that they list, that the vault lacks; at most some 30,000 are told.

    Condemned ids count as there, since a commit revives them: with `revive` that is done here, for which the caller
    holds the vault's lock. A block that cannot be read whole counts as lacking. InvalidCommit when it is no block.
    """
    unique = list(dict.fromkeys(blocks))
    lacking = dict.fromkeys(_absent(vault_number, unique, revive=revive))
    readable = [block for block in unique if block not in lacking]
    for block, ids in read_blocks(vault_number, readable):
        if ids is None:
            lacking[block] = None
            continue
        lacking.update(dict.fromkeys(_absent(vault_number, ids, revive=revive)))
        if len(lacking) >= MAX_TOLD_MISSING:
            break
    return list(lacking)[:MAX_TOLD_MISSING]


def read_blocks(vault_number: int, blocks: Sequence[bytes]) -> Iterator[tuple[bytes, list[bytes] | None]]:
    """Each block's id with the ids that it lists, or None when no copy of it can be read whole."""
    for found in PackReader(vault_number, is_block).read(blocks):
        yield found.id, None if found.record is None else _listed(found.record.sealed)


def _listed(data: bytes) -> list[bytes]:
    try:
        return decode_block(data)
    except FormatError as fault:
        raise InvalidCommit(str(fault)) from None


def _absent(vault_number: int, ids: Sequence[bytes], *, revive: bool) -> list[bytes]:
    absent: list[bytes] = []
    for batch in batches(ids, MAX_QUESTION):
        missing = missing_ids(vault_number, batch)
        if missing:
            missing -= _condemned(vault_number, missing, revive=revive)
        absent += [record_id for record_id in batch if record_id in missing]
    return absent


def _condemned(vault_number: int, ids: set[bytes], *, revive: bool) -> set[bytes]:
    with connection.cursor() as cursor:
        cursor.execute(REVIVE_SQL if revive else CONDEMNED_SQL, [vault_number, list(ids)])
        return {bytes(row[0]) for row in cursor}
