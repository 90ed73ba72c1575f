"""Scrub and heal as jobs: what a job's subject names is looked at, what came of it is kept, the next is asked for."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.utils import timezone

from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.jobs.models import Job
from backup_platform.jobs.services import renew
from backup_platform.storage.base import StoreUnavailable
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.models import FindingState, ScrubFinding
from backup_platform.upkeep.parity_code import ParityUnavailable, WrongSource
from backup_platform.upkeep.parity_making import look_at_parity, make_parity, place_named
from backup_platform.upkeep.scrub_calendar import current_settings, keep_busy, rate_of_one
from backup_platform.upkeep.scrub_objects import scrub_snapshot, scrub_vault
from backup_platform.upkeep.scrub_packs import scrub_copy, scrub_pack
from backup_platform.upkeep.turns import Turn


def scrub(job: Job) -> dict[str, Any]:
    """A job `scrub pack:<id>`, `copy:<id>`, `snapshot:<id>` or `vault:<id>`; then the next ones are asked for.

    What cannot be read just now ends the job with `unread`: it stays due, and is looked at again an hour later.
    """
    try:
        return _look(job, rate_of_one(_settings()))
    finally:
        keep_busy(ending=1)


def heal(job: Job) -> dict[str, Any]:
    """A job `heal …`: the same look, as fast as it goes, since somebody waits for it."""
    found = _look(job, 0.0)
    ScrubFinding.objects.filter(subject=job.subject).exclude(state=FindingState.HEALED).update(seen_at=timezone.now())
    return found


def parity(job: Job) -> dict[str, Any]:
    """A job `scrub parity:copy-<id>` or `parity:pack-<id>`: parity is made beside a pack that has none."""
    place = place_named(job.subject)
    if place is None:
        return {}
    try:
        return {"bytes": make_parity(place, lambda: renew(job))}
    except (StoreUnavailable, RecordUnavailable, ParityUnavailable, WrongSource) as fault:
        return {"unread": str(fault)[:300]}


def _look(job: Job, rate: float) -> dict[str, Any]:
    kind, _, name = job.subject.partition(":")
    try:
        if kind == "snapshot":
            return asdict(scrub_snapshot(UUID(name)))
        if kind == "vault":
            return asdict(scrub_vault(UUID(name), Turn(lambda: renew(job)).check))
        look = scrub_pack if kind == "pack" else scrub_copy
        found = asdict(look(int(name), rate, lambda: renew(job)))
        look_at_parity(job.subject)
    except (StoreUnavailable, RecordUnavailable) as fault:
        return {"unread": str(fault)[:300]}
    return found


def _settings() -> Any:
    with without_tenant_scope("the calendar is the platform's"):
        return current_settings()
