"""In how many places stored bytes are, and the words for it: what is on one disk only is shown as such."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet, Sum

from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, Snapshot, SnapshotCopy

HERE = (PackPlace.SPOOL, PackPlace.TARGET)
GOOD_COPIES = Count("copies", filter=Q(copies__state=CopyState.GOOD), distinct=True)


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
    """Where a snapshot is as a whole: at how many targets all that it needs is. Its root is always here."""
    complete = SnapshotCopy.objects.filter(snapshot_id=snapshot.pk, complete_at__isnull=False)
    away = (
        snapshot.session_id is not None
        and Pack.objects.filter(session=snapshot.session_id, place=PackPlace.REMOTE).exists()
    )
    return Places(not away, complete.count())


def words_for_pack(pack: Pack) -> str:
    """Where a pack is, for a page."""
    return places_of_pack(pack).words


def words_for_snapshot(snapshot: Snapshot) -> str:
    """Where a snapshot is, for a page."""
    return places_of_snapshot(snapshot).words


def with_places(packs: QuerySet[Pack]) -> QuerySet[Pack]:
    """Packs with how many good copies each has at targets (`good_copies`), in the same query."""
    return packs.annotate(good_copies=GOOD_COPIES)


def single_bytes() -> int:
    """Bytes of the scope's packs that are in one place only."""
    rows = with_places(Pack.objects.filter(place__in=(*HERE, PackPlace.REMOTE)).order_by())
    alone = rows.filter(Q(place__in=HERE, good_copies=0) | Q(place=PackPlace.REMOTE, good_copies__lte=1))
    return int(alone.aggregate(total=Sum("bytes"))["total"] or 0)
