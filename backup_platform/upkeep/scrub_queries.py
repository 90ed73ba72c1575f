"""How much of what is stored was read lately, where, and what was found: for people and for figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, DateTimeField, Min, Q, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState, Snapshot
from backup_platform.catalog.scrubbing import COMMITTED
from backup_platform.upkeep.heal_places import READ_FROM
from backup_platform.upkeep.models import FindingState, ScrubFinding
from backup_platform.upkeep.scrub_calendar import current_settings

READ = (PackState.VERIFIED, PackState.DAMAGED)


@dataclass(frozen=True, slots=True)
class PlaceState:
    """What one place holds: how many copies, how many of them were read within the period, the oldest reading."""

    name: str
    target_id: UUID | None
    copies: int
    fresh: int
    damaged: int
    oldest: datetime | None
    bytes: int = 0

    @property
    def share(self) -> float:
        """The part that was read and matched within the period, 0 to 1; nothing stored is all of it."""
        return self.fresh / self.copies if self.copies else 1.0


@dataclass(frozen=True, slots=True)
class ScrubState:
    """Scrub at a glance, in the scope in force."""

    every_days: int
    places: list[PlaceState]
    snapshots: PlaceState
    findings: dict[str, int]

    @property
    def copies(self) -> int:
        """Copies of packs at all places together."""
        return sum(place.copies for place in self.places)

    @property
    def share(self) -> float:
        """The part of all copies that was read and matched within the period."""
        return sum(place.fresh for place in self.places) / self.copies if self.copies else 1.0

    @property
    def oldest_unverified(self) -> datetime | None:
        """When the copy that was not read for the longest time was read last, if that is longer ago than the period."""
        before = timezone.now() - timedelta(days=self.every_days)
        late = [place.oldest for place in self.places if place.oldest is not None and place.oldest < before]
        return min(late, default=None)


def scrub_state() -> ScrubState:
    """The state of every place, in the scope in force: a tenant's, or the platform's."""
    days = current_settings().every_days
    since = timezone.now() - timedelta(days=days)
    found = dict(ScrubFinding.objects.order_by().values_list("state").annotate(Count("pk")))
    findings = {state: found.get(state, 0) for state in FindingState.values}
    return ScrubState(days, [_home(since), *_targets(since)], _snapshots(since), findings)


def _home(since: datetime) -> PlaceState:
    here = Pack.objects.filter(place__in=[PackPlace.SPOOL, PackPlace.TARGET], state__in=READ)
    read = Coalesce("scrubbed_at", "verified_at", "opened_at", output_field=DateTimeField())
    return _place("This server", None, here.annotate(read_at=read), since, size=Sum("bytes"))


def _targets(since: datetime) -> list[PlaceState]:
    there = Copy.objects.filter(state__in=[CopyState.GOOD, CopyState.DAMAGED], target__state__in=READ_FROM)
    read = Coalesce("checked_at", "written_at", output_field=DateTimeField())
    names = there.order_by("target__name").values_list("target_id", "target__name").distinct()
    return [
        _place(name, pk, there.filter(target_id=pk).annotate(read_at=read), since, size=Sum("bytes"))
        for pk, name in names
    ]


def _snapshots(since: datetime) -> PlaceState:
    read = Coalesce("scrub_mark__checked_at", "received_at", output_field=DateTimeField())
    kept = Snapshot.objects.filter(state__in=COMMITTED).annotate(read_at=read)
    return _place("Roots, statements, records", None, kept, since)


def _place(name: str, target_id: UUID | None, rows: QuerySet[Any], since: datetime, **more: Sum) -> PlaceState:
    """One query over rows with `read_at` and a state, in which "damaged" is the same word everywhere."""
    damaged = Q(state="damaged")
    found = rows.order_by().aggregate(
        copies=Count("pk"),
        fresh=Count("pk", filter=Q(read_at__gte=since) & ~damaged),
        hurt=Count("pk", filter=damaged),
        oldest=Min("read_at"),
        **more,
    )
    return PlaceState(name, target_id, found["copies"], found["fresh"], found["hurt"], found["oldest"],
                      found.get("size") or 0)  # fmt: skip
