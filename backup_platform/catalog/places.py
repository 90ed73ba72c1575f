"""In how many places stored bytes are, and the words for it: what is on one disk only is shown as such."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection
from django.db.models import Count, Q, QuerySet, Sum
from pyroaring import BitMap64

from backup_platform.catalog.chunk_index import check_vault_in_scope
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, Snapshot, SnapshotCopy

HERE = (PackPlace.SPOOL, PackPlace.TARGET)
GOOD_COPIES = Count("copies", filter=Q(copies__state=CopyState.GOOD), distinct=True)

SLICE = 10_000
"""Chunk numbers in one question."""
ANY_IN_SQL = """
    SELECT EXISTS (SELECT 1 FROM catalog_chunk
                    WHERE vault = %(vault)s AND number = ANY(%(numbers)s::bigint[]) AND pack = ANY(%(packs)s::bigint[]))
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Where something is: on this host or not, and at how many targets besides."""

    here: bool
    targets: int

    @property
    def words(self) -> str:
        """For people."""
        if not self.here:
            return {0: "nowhere", 1: "at one target only"}.get(self.targets, f"at {self.targets} targets")
        if not self.targets:
            return "on one disk only"
        return f"here and at {self.targets} target{'s' if self.targets > 1 else ''}"

    @property
    def single(self) -> bool:
        """Whether one fault may take all there is."""
        return self.here + self.targets < 2


def places_of_pack(pack: Pack) -> Places:
    """Where a pack is, by its row and its good copies."""
    return Places(pack.place in HERE, Copy.objects.filter(pack_id=pack.pk, state=CopyState.GOOD).count())


def places_of_snapshot(snapshot: Snapshot) -> Places:
    """Where a snapshot is as a whole: here only if no pack that it needs has left; at how many targets all of it is."""
    complete = SnapshotCopy.objects.filter(snapshot_id=snapshot.pk, complete_at__isnull=False)
    return Places(not _needs_remote(snapshot), complete.count())


def _needs_remote(snapshot: Snapshot) -> bool:
    """Whether a chunk that it needs is in a pack without a file here; without a bitmap, by its session's packs."""
    remote = Pack.objects.filter(vault_id=snapshot.vault_id, place=PackPlace.REMOTE)
    if snapshot.bitmap is None:
        return snapshot.session_id is not None and remote.filter(session_id=snapshot.session_id).exists()
    packs = list(remote.values_list("pk", flat=True))
    if not packs:
        return False
    numbers = BitMap64.deserialize(bytes(snapshot.bitmap)).to_array()
    return any(_any_in(snapshot.vault.number, numbers[at : at + SLICE], packs) for at in range(0, len(numbers), SLICE))


def _any_in(vault_number: int, numbers: Sequence[int], packs: list[int]) -> bool:
    check_vault_in_scope(vault_number)
    with connection.cursor() as cursor:
        cursor.execute(ANY_IN_SQL, {"vault": vault_number, "numbers": list(numbers), "packs": packs})
        return bool(cursor.fetchone()[0])


def words_for_pack(pack: Pack) -> str:
    """Where a pack is, for a page."""
    return places_of_pack(pack).words


def words_for_snapshot(snapshot: Snapshot) -> str:
    """Where a snapshot is, for a page."""
    places = places_of_snapshot(snapshot)
    return places.words if places.here or places.targets else "not whole in any one place"


def with_places(packs: QuerySet[Pack]) -> QuerySet[Pack]:
    """Packs with how many good copies each has at targets (`good_copies`), in the same query."""
    return packs.annotate(good_copies=GOOD_COPIES)


def single_bytes() -> int:
    """Bytes of the scope's packs that are in one place only."""
    rows = with_places(Pack.objects.filter(place__in=(*HERE, PackPlace.REMOTE)).order_by())
    alone = rows.filter(Q(place__in=HERE, good_copies=0) | Q(place=PackPlace.REMOTE, good_copies__lte=1))
    return int(alone.aggregate(total=Sum("bytes"))["total"] or 0)
