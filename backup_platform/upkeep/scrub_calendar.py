"""Scrub on a calendar: what is due, the oldest first, and a few jobs at a time that each ask for the next one.

Rows say when a thing was last read; there is no plan to lose. A tick once a minute looks whether enough is under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState, Snapshot
from backup_platform.catalog.scrubbing import COMMITTED
from backup_platform.jobs.models import UNFINISHED, Job, JobKind, JobState
from backup_platform.jobs.services import enqueue
from backup_platform.targets.queries import home_row
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.heal_places import READ_FROM
from backup_platform.upkeep.models import FindingState, ScrubFinding, ScrubSettings
from backup_platform.upkeep.scrub_findings import close_outgrown
from backup_platform.vaults.models import Vault

READ = (PackState.VERIFIED, PackState.DAMAGED)
REST = timedelta(hours=1)
"""What could not be read, or failed, is left alone for so long: others go first."""
HEAL_AGAIN = timedelta(hours=1)
MOST_HEALED = 50
MOST_PARITY = 4
"""Jobs that make parity at one time, besides those that read."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something to be read: a job's subject, whose it is, and since when it was not read."""

    subject: str
    tenant_id: UUID
    since: datetime


def current_settings() -> ScrubSettings:
    """The calendar as it is; what nobody has changed has its defaults."""
    return ScrubSettings.objects.filter(pk=1).first() or ScrubSettings()


def is_time(settings: ScrubSettings, now: datetime) -> bool:
    """Whether scrubbing is allowed at this hour (UTC)."""
    if settings.paused:
        return False
    first, last = settings.from_hour, settings.to_hour
    if first == last:
        return True
    return first <= now.hour < last if first < last else now.hour >= first or now.hour < last


def rate_of_one(settings: ScrubSettings) -> float:
    """Bytes a second for one of the jobs side by side; 0: as fast as it goes."""
    return settings.mib_per_second * 1024 * 1024 / max(settings.at_once, 1)


def tick() -> None:
    """Once a minute: enough under way, open findings tried again, parity where it is missing."""
    with without_tenant_scope("scrub covers every tenant"):
        keep_busy()
        close_outgrown()
        ask_for_healing()
        ask_for_parity()


def keep_busy(*, ending: int = 0) -> int:
    """Ask for as many looks as there is room for; `ending` jobs are about to end. Returns how many were asked for."""
    with without_tenant_scope("scrub covers every tenant"):
        settings, now = current_settings(), timezone.now()
        if not is_time(settings, now):
            return 0
        reading = _unfinished(JobKind.SCRUB).exclude(subject__startswith="parity:")
        under_way = set(reading.values_list("subject", flat=True))
        room = settings.at_once - len(under_way) + ending
        if room <= 0:
            return 0
        passed_over = under_way | _resting(now)
        asked = 0
        for due in _oldest(now - timedelta(days=settings.every_days), room + len(passed_over)):
            if due.subject not in passed_over and asked < room:
                enqueue(JobKind.SCRUB, subject=due.subject, tenant_id=due.tenant_id)
                asked += 1
        return asked


def ask_for_healing() -> int:
    """Have what is still open tried again, an hour after the last look."""
    waiting = ScrubFinding.objects.filter(state__in=[FindingState.OPEN, FindingState.LOST])
    waiting = waiting.filter(
        Q(state=FindingState.OPEN, seen_at__lt=timezone.now() - HEAL_AGAIN)
        | Q(state=FindingState.LOST, seen_at__lt=timezone.now() - 24 * HEAL_AGAIN)
    )
    found = list(waiting.order_by("seen_at")[:MOST_HEALED])
    for finding in found:
        enqueue(JobKind.HEAL, subject=finding.subject, tenant_id=finding.tenant_id)
    return len(found)


def ask_for_parity() -> int:
    """Have parity made beside packs at targets that should have it."""
    room = MOST_PARITY - _unfinished(JobKind.SCRUB).filter(subject__startswith="parity:").count()
    if room <= 0:
        return 0
    resting = _resting(timezone.now())
    lacking = [due for due in _without_parity(room + len(resting)) if due.subject not in resting][:room]
    for due in lacking:
        enqueue(JobKind.SCRUB, subject=due.subject, tenant_id=due.tenant_id)
    return len(lacking)


def _without_parity(limit: int) -> list[Due]:
    copies = Copy.objects.filter(
        state=CopyState.GOOD, parity_bytes=0, target__parity_percent__gt=0, target__state="active",
        target__away_since__isnull=True,
    )  # fmt: skip
    found = [
        Due(f"parity:copy-{pk}", tenant, at or timezone.now())
        for pk, tenant, at in copies.order_by("pk").values_list("pk", "tenant_id", "written_at")[:limit]
    ]
    home = home_row()
    if home is not None and home.parity_percent:
        packs = Pack.objects.filter(place=PackPlace.TARGET, state=PackState.VERIFIED, home_parity__isnull=True)
        found += [
            Due(f"parity:pack-{pk}", tenant, at)
            for pk, tenant, at in packs.order_by("pk").values_list("pk", "tenant_id", "opened_at")[:limit]
        ]
    return found


def _unfinished(kind: JobKind) -> QuerySet[Job]:
    return Job.objects.filter(kind=kind, state__in=UNFINISHED, machine__isnull=True)


def _resting(now: datetime) -> set[str]:
    """Subjects whose last look an hour ago came to nothing."""
    lately = Job.objects.filter(kind=JobKind.SCRUB, machine__isnull=True, finished_at__gt=now - REST)
    came_to_nothing = lately.filter(Q(state=JobState.FAILED) | Q(progress__has_key="unread"))
    return set(came_to_nothing.values_list("subject", flat=True))


def _oldest(before: datetime, limit: int) -> list[Due]:
    found = [due for source in (_packs, _copies, _snapshots, _vaults) for due in source(before, limit)]
    return sorted(found, key=lambda due: due.since)[:limit]


def _packs(before: datetime, limit: int) -> Iterator[Due]:
    here = Pack.objects.filter(place=PackPlace.TARGET, state__in=READ)
    never = here.filter(scrubbed_at__isnull=True, verified_at__lt=before).order_by("pk")
    yield from _named("pack", never.values_list("pk", "tenant_id", "verified_at")[:limit])
    read = here.filter(scrubbed_at__lt=before).order_by("scrubbed_at")
    yield from _named("pack", read.values_list("pk", "tenant_id", "scrubbed_at")[:limit])


def _copies(before: datetime, limit: int) -> Iterator[Due]:
    there = Copy.objects.filter(
        state__in=[CopyState.GOOD, CopyState.DAMAGED], target__state__in=READ_FROM, target__away_since__isnull=True
    )
    never = there.filter(checked_at__isnull=True, written_at__lt=before).order_by("pk")
    yield from _named("copy", never.values_list("pk", "tenant_id", "written_at")[:limit])
    read = there.filter(checked_at__lt=before).order_by("checked_at")
    yield from _named("copy", read.values_list("pk", "tenant_id", "checked_at")[:limit])


def _snapshots(before: datetime, limit: int) -> Iterator[Due]:
    kept = Snapshot.objects.filter(state__in=COMMITTED)
    never = kept.filter(scrub_mark__isnull=True, received_at__lt=before).order_by("received_at")
    yield from _named("snapshot", never.values_list("pk", "tenant_id", "received_at")[:limit])
    read = kept.filter(scrub_mark__checked_at__lt=before).order_by("scrub_mark__checked_at")
    yield from _named("snapshot", read.values_list("pk", "tenant_id", "scrub_mark__checked_at")[:limit])


def _named(kind: str, rows: Iterable[tuple[Any, UUID, datetime | None]]) -> Iterator[Due]:
    for pk, tenant, at in rows:
        if at is not None:
            yield Due(f"{kind}:{pk}", tenant, at)


def _vaults(before: datetime, limit: int) -> Iterator[Due]:
    unread = Q(scrub_mark__isnull=True, created_at__lt=before) | Q(scrub_mark__checked_at__lt=before)
    due = Vault.objects.filter(unread, snapshots__isnull=False)
    at = F("scrub_mark__checked_at")
    for pk, tenant, since in (
        due.distinct()
        .order_by(at.asc(nulls_first=True))
        .values_list("pk", "tenant_id", "scrub_mark__checked_at")[:limit]
    ):
        yield Due(f"vault:{pk}", tenant, since or before)
