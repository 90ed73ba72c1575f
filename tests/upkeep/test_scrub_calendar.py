"""When what is read: the oldest first, few at a time, in the allowed hours, and nobody waits for who is away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Copy, Pack, Snapshot
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.upkeep.models import HomeParity, ScrubFinding, ScrubMark, ScrubSettings
from backup_platform.upkeep.scrub_calendar import current_settings, is_time, keep_busy, rate_of_one, tick
from backup_platform.upkeep.scrub_queries import scrub_state
from backup_platform.upkeep.scrub_reading import PacedFile
from backup_platform.upkeep.scrub_services import change_settings
from tests.catalog.stage import run_jobs
from tests.upkeep.scrub_stage import copy_objects, copy_pack, file_at, flip, make_target, root_of

LONG_AGO = timedelta(days=100)


def subjects() -> list[str]:
    waiting = Job.objects.filter(kind=JobKind.SCRUB, state=JobState.QUEUED).order_by("created_at")
    return [job.subject for job in waiting]


def change(**settings) -> None:
    ScrubSettings.objects.update_or_create(pk=1, defaults=settings)


@pytest.fixture
def aged(stored):
    """A pack, its copy, a snapshot and a vault, all read long ago; the copy before the pack."""
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    copy_objects(stored.snapshot, cloud)
    now = timezone.now()
    Pack.objects.update(verified_at=now - LONG_AGO)
    Copy.objects.update(written_at=now - 2 * LONG_AGO)
    Snapshot.objects.update(received_at=now - LONG_AGO / 2)
    ScrubMark.objects.create(tenant=stored.vault.tenant, vault=stored.vault, checked_at=now - LONG_AGO / 3)
    return stored, cloud, copy


def test_the_oldest_is_asked_for_first_and_few_at_a_time(aged):
    stored, _, copy = aged
    assert keep_busy() == 2
    assert subjects() == [f"copy:{copy.pk}", f"pack:{stored.pack.pk}"]
    assert keep_busy() == 0


def test_each_job_asks_for_the_next_until_all_was_read(aged):
    stored, _, copy = aged
    change(at_once=1)
    keep_busy()
    run_jobs()
    done = Job.objects.filter(kind=JobKind.SCRUB, state=JobState.DONE).order_by("created_at")
    packs, objects = [f"copy:{copy.pk}", f"pack:{stored.pack.pk}"], [f"snapshot:{stored.snapshot.pk}"]
    assert [job.subject for job in done] == [*packs, *objects, f"vault:{stored.vault.pk}"]
    assert keep_busy() == 0, "nothing is due any more"
    state = scrub_state()
    assert (state.share, state.copies, state.oldest_unverified) == (1.0, 2, None)


def test_what_was_read_lately_is_not_due(stored):
    assert keep_busy() == 0
    change(every_days=1)
    Pack.objects.update(scrubbed_at=timezone.now() - timedelta(days=2))
    assert keep_busy() == 1


def test_share_and_oldest_say_what_is_overdue(aged):
    state = scrub_state()
    assert (state.share, state.copies) == (0.0, 2)
    assert state.oldest_unverified < timezone.now() - 1.9 * LONG_AGO
    assert {place.name: place.copies for place in state.places} == {"This server": 1, "cloud": 1}


def test_nothing_waits_for_a_target_that_is_away(aged):
    stored, cloud, copy = aged
    root_of(cloud).rename(root_of(cloud).with_name("unplugged"))
    change(at_once=1)
    keep_busy()
    run_jobs()
    first = Job.objects.get(subject=f"copy:{copy.pk}")
    assert first.state == JobState.DONE
    assert "unread" in first.progress
    assert Job.objects.filter(subject=f"pack:{stored.pack.pk}", state=JobState.DONE).exists()
    assert subjects() == []
    assert Copy.objects.get().checked_at is None, "it stays due"


@pytest.mark.parametrize(
    ("first", "last", "hour", "allowed"),
    [(0, 0, 13, True), (22, 6, 23, True), (22, 6, 5, True), (22, 6, 6, False), (1, 5, 4, True), (1, 5, 5, False)],
)
def test_the_allowed_hours(first, last, hour, allowed):
    settings = ScrubSettings(from_hour=first, to_hour=last)
    assert is_time(settings, datetime(2026, 1, 1, hour, 30, tzinfo=UTC)) is allowed
    settings.paused = True
    assert not is_time(settings, datetime(2026, 1, 1, hour, 30, tzinfo=UTC))


def test_a_paused_calendar_asks_for_nothing(aged):
    change(paused=True)
    assert keep_busy() == 0


def test_the_rate_is_shared_by_those_side_by_side():
    assert rate_of_one(ScrubSettings(mib_per_second=64, at_once=2)) == 32 * 1024 * 1024
    assert rate_of_one(ScrubSettings(mib_per_second=0)) == 0


def test_a_paced_file_reads_no_faster_than_its_rate(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(10_000))
    clock = Clock()
    signs = []
    with path.open("rb") as inner:
        file = PacedFile(inner, 100, lambda: signs.append(clock.now), clock=clock, sleep=clock.sleep)
        while file.read(500):
            pass
    assert clock.now == pytest.approx(100, abs=1)
    assert len(signs) >= 4, "its job shows that it lives"


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_change_of_the_calendar_is_checked_and_audited(db):
    change_settings(ScrubSettings(every_days=7, mib_per_second=10), actor="user ann")
    assert current_settings().every_days == 7
    with without_tenant_scope("the platform's own audit"):
        assert Entry.objects.filter(verb="scrub.settings_changed", actor="user ann").exists()
    with pytest.raises(ValidationError):
        change_settings(ScrubSettings(every_days=0), actor="user ann")
    assert current_settings().every_days == 7


def test_the_tick_tries_open_findings_again(stored):
    """A target was away when the damage was found; an hour later a job heals it."""
    cloud = make_target(stored.vault, "cloud")
    copy_pack(stored.pack, cloud)
    away = root_of(cloud).with_name("unplugged")
    root_of(cloud).rename(away)
    flip(file_at(stored.pack), 3000)
    Pack.objects.update(scrubbed_at=timezone.now() - LONG_AGO)
    keep_busy()
    run_jobs()
    assert stored.states() == ("damaged", "damaged")
    away.rename(root_of(cloud))
    tick()
    assert not Job.objects.filter(kind=JobKind.HEAL).exists(), "not before the hour is over"
    ScrubFinding.objects.update(seen_at=timezone.now() - timedelta(hours=2))
    tick()
    run_jobs()
    assert stored.states() == ("verified", "verified")
    assert ScrubFinding.objects.get().state == "healed"


def test_parity_is_made_where_a_target_asks_for_it_and_looked_at(stored):
    from backup_platform.targets.services import home_target

    cloud = make_target(stored.vault, "cloud", parity_percent=10)
    copy = copy_pack(stored.pack, cloud)
    with without_tenant_scope("the home directory is everybody's"):
        Target.objects.filter(pk=home_target().pk).update(parity_percent=5)
    tick()
    run_jobs()
    copy.refresh_from_db()
    sidecar = root_of(cloud) / f"{copy.key}.parity"
    assert copy.parity_bytes == sidecar.stat().st_size > 0
    assert HomeParity.objects.get().bytes == (root_of(None) / f"{stored.pack.path}.parity").stat().st_size
    flip(sidecar, copy.parity_bytes // 2)
    Copy.objects.update(written_at=timezone.now() - LONG_AGO)
    keep_busy()
    run_jobs()
    assert ScrubFinding.objects.get().kind == "parity"
    tick()
    run_jobs()
    assert ScrubFinding.objects.get().state == "healed"
    copy.refresh_from_db()
    assert copy.parity_bytes == sidecar.stat().st_size
