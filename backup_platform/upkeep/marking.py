"""Marking: what a vault's snapshots need, as the union of their bitmaps, and whether all their needs are known.

Set arithmetic, not a walk. The bitmaps are streamed, so memory holds the union and a few of them. Nothing is guessed: a
bitmap that cannot be read, or a snapshot that has none and should, ends the round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from psycopg import ServerCursor
from pyroaring import BitMap64

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.upkeep.errors import ReclaimRefused
from backup_platform.vaults.models import Vault

PAGE = 64
"""Bitmaps held at once: some five megabytes."""
COUNTS_SQL = """
    SELECT id FROM catalog_snapshot WHERE vault_id = %s AND state <> 'reclaimed' AND bitmap IS NOT NULL
"""
BITMAPS_SQL = "SELECT id, cardinality, bitmap FROM catalog_snapshot WHERE vault_id = %s AND id = ANY(%s::uuid[])"


class Union:
    """The numbers that some snapshot of the vault needs. `without`: snapshots that are about to stop counting."""

    def __init__(self, vault: Vault, without: frozenset[UUID] = frozenset()) -> None:
        self.vault = vault
        self.numbers = BitMap64()
        self.counted: set[UUID] = set()
        self._without = without

    def catch_up(self) -> None:
        """Add every bitmap that was stored since the last call: the first one reads them all.

        Under the vault's exclusive lock no commit or completion is on its way, so nothing is missing afterwards.
        Raises ReclaimRefused when one of them is not what it should be.
        """
        new = [pk for pk in self._standing() if pk not in self.counted and pk not in self._without]
        for pk, cardinality, bitmap in self._stream(new):
            self.numbers |= _read(pk, cardinality, bitmap)
            self.counted.add(pk)
        if not self.counted.issuperset(new):
            raise ReclaimRefused("A snapshot went away while its needs were read. Try again.")

    def _standing(self) -> list[UUID]:
        with connection.cursor() as cursor:
            cursor.execute(COUNTS_SQL, [self.vault.pk])
            return [row[0] for row in cursor.fetchall()]

    def _stream(self, ids: list[UUID]) -> Iterator[tuple[UUID, int, bytes]]:
        if not ids:
            return
        with transaction.atomic(), connection.wrap_database_errors:
            driver: Any = connection.connection
            with ServerCursor(driver, "needs_of_snapshots") as cursor:
                cursor.itersize = PAGE
                cursor.execute(BITMAPS_SQL, [self.vault.pk, ids], binary=True)
                yield from cursor


def _read(pk: UUID, cardinality: int | None, bitmap: bytes) -> BitMap64:
    try:
        numbers = BitMap64.deserialize(bitmap)
    except ValueError:
        numbers = None
    if numbers is None or len(numbers) != cardinality:
        raise ReclaimRefused(
            f"The list of what snapshot {pk.hex[:12]} needs is damaged in the database, so nothing is taken away. "
            "Restore the database from its backup, or expire that snapshot."
        )
    return numbers


def check_needs_known(vault: Vault) -> None:
    """Raise ReclaimRefused while a snapshot that was looked at has no bitmap: nobody can say what it needs.

    One that was received and not looked at yet is no such: its session holds on until it has been.
    """
    unknown = Snapshot.objects.filter(vault=vault, bitmap__isnull=True)
    unknown = unknown.exclude(state__in=[SnapshotState.RECLAIMED, SnapshotState.RECEIVED])
    named = list(unknown.order_by("received_at").values_list("pk", flat=True)[:3])
    if named:
        names = ", ".join(pk.hex[:12] for pk in named)
        raise ReclaimRefused(
            f"What some snapshots need is not known ({names}, {unknown.count()} in all): they are damaged, or expired "
            "before they were verified. Heal them, or expire them and wait until they cannot be brought back any more."
        )


def all_needs_known(vault: Vault) -> bool:
    """Whether every snapshot that counts has its bitmap, those just received too."""
    return not Snapshot.objects.filter(vault=vault, bitmap__isnull=True).exclude(state="reclaimed").exists()


def unsettled_snapshots(vault: Vault) -> list[UUID]:
    """Those that were received, and whose needs are not looked up yet."""
    waiting = Snapshot.objects.filter(vault=vault, bitmap__isnull=True, state=SnapshotState.RECEIVED)
    return list(waiting.values_list("pk", flat=True))
