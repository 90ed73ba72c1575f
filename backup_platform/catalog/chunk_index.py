"""The chunk tables: laid out by hand, because they have a row per chunk of every vault and no use for objects.

`catalog_chunk` is a vault's index (one row per id, partitioned by vault), `catalog_arrival` holds acknowledged records
that deduplication has not seen yet, `catalog_spare` copies that lost a race. A vault stands in them as its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from psycopg import Cursor

from backup_platform.tenants.scope import ScopeError, current_tenant_id

PARTITIONS = 64
VAULT_LOCKS = 0x5652 << 48
"""Where the advisory lock numbers of vaults begin; no other lock of ours has this high half."""


class ChunkState(IntEnum):
    """What a row of the index says about its record. Only live ids count as present."""

    LIVE = 0
    CONDEMNED = 1
    DAMAGED = 2


MAX_REMEMBERED = 10_000
_owned: set[tuple[int, UUID]] = set()
"""Vaults and their tenants, as this process has seen them: a vault never changes hands, and no number is used twice."""


def check_vault_in_scope(vault_number: int) -> None:
    """Raise ScopeError unless the tenant in force owns the vault: the wall that SQL by hand must build itself."""
    tenant_id = current_tenant_id()
    if tenant_id is None or (vault_number, tenant_id) in _owned:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM vaults_vault WHERE number = %s AND tenant_id = %s", [vault_number, tenant_id])
        if cursor.fetchone() is None:
            raise ScopeError("The chunks of another tenant's vault cannot be used in this tenant's scope.")
    if len(_owned) >= MAX_REMEMBERED:
        _owned.clear()
    _owned.add((vault_number, tenant_id))


@contextmanager
def binary_cursor() -> Iterator[Cursor[tuple[Any, ...]]]:
    """A cursor of psycopg's own, in the transaction in force, that sends parameters apart and in binary (`%(name)b`).

    Django's writes them into the statement as text: for a thousand ids that takes three times as long as the query.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, Cursor(connection.connection) as cursor:
        yield cursor


@contextmanager
def vault_lock(vault_number: int, *, shared: bool) -> Iterator[None]:
    """A transaction under the vault's advisory lock: shared for commits, exclusive for what takes presence away.

    The lock goes with the transaction, so it is held until the change is visible, and no crash leaves it behind.
    """
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    with transaction.atomic():
        check_vault_in_scope(vault_number)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {function}(%s)", [VAULT_LOCKS | vault_number])
        yield


def batches(ids: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """The ids in slices of at most `size`."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
