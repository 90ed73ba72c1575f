"""Probes as jobs: a new target is used once it was found good, and what was found holds for what was tried."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.running import run_job
from backup_platform.jobs.ticks import run_alone
from backup_platform.storage.base import StoreUnavailable
from backup_platform.targets import bucket_probe, findings, probe, probing, services
from backup_platform.targets.findings import Report
from backup_platform.targets.models import Target, TargetKind, TargetState
from backup_platform.targets.probe import probe_target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.models import TierRule
from backup_platform.tiering.rules import active_rules
from tests.targets.conftest import KEYS, bucket_of, kept

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def few_pages(monkeypatch):
    monkeypatch.setattr(bucket_probe, "PAGE_KEYS", 5)


@pytest.fixture
def disk(tmp_path) -> Target:
    target = Target(name="disk", kind=TargetKind.LOCAL, path=str(tmp_path / "copies"))
    return services.create_target(target, None, actor="ada", staff=True)


def job_of(target: Target) -> Job:
    with without_tenant_scope("test"):
        return Job.objects.filter(subject=f"target:{target.pk}").latest("created_at")


def work(target: Target) -> Job:
    run_job(job_of(target).pk, probing.work)
    return job_of(target)


@pytest.mark.defence
def test_nothing_is_copied_to_a_target_before_a_probe_found_it_good(disk):
    with without_tenant_scope("test"):
        TierRule.objects.create(target=disk)
    assert kept(disk).state == TargetState.NEW
    assert active_rules() == []
    assert work(disk).state == JobState.DONE
    assert kept(disk).state == TargetState.ACTIVE
    assert [rule.target_id for rule in active_rules()] == [disk.pk]


def test_a_new_target_that_lacks_what_is_needed_is_paused_and_told(disk, tmp_path):
    (tmp_path / "copies").rename(tmp_path / "elsewhere")
    job = work(disk)
    row = kept(disk)
    assert (job.state, job.progress["usable"], row.state) == (JobState.DONE, False, TargetState.PAUSED)
    assert row.away_since is not None


def test_one_that_was_found_unusable_is_probed_again_before_it_is_used(disk, tmp_path):
    (tmp_path / "copies").rename(tmp_path / "elsewhere")
    work(disk)
    services.resume_target(disk, actor="ada")
    assert kept(disk).state == TargetState.NEW
    (tmp_path / "elsewhere").rename(tmp_path / "copies")
    work(disk)
    assert (kept(disk).state, kept(disk).away_since) == (TargetState.ACTIVE, None)


@pytest.mark.defence
def test_what_was_found_before_somebody_changed_the_target_is_not_kept(tenant, s3_target_row, monkeypatch):
    target = s3_target_row(tenant, flags={}, endpoint="https://93.184.215.14", allow_private=False)

    def meanwhile(row, folder, report):
        services.set_credentials(kept(target), KEYS, actor="ada", staff=False)
        for step in findings.NEEDED:
            report.note(step, True, "Good.")

    monkeypatch.setattr(bucket_probe, "probe_bucket", meanwhile)
    services.ask_probe(target, actor="ada")
    job = work(target)
    assert (kept(target).flags, kept(target).probed_at) == ({}, None)
    assert job.state == JobState.QUEUED
    assert "changed while it was probed" in job.last_error


def test_a_probe_has_an_end_however_slow_the_answers_are(s3_target_row):
    report = Report(seconds=0.0)
    with pytest.raises(StoreUnavailable, match="too slow"):
        bucket_probe.probe_bucket(s3_target_row(flags={}), "probe/x", report)


def test_a_target_that_was_too_slow_is_paused_with_that_sentence(s3_target_row, monkeypatch):
    monkeypatch.setattr(probe, "Report", lambda: Report(seconds=0.0))
    target = s3_target_row(flags={})
    assert "too slow" in probe_target(target, actor="ada").fault
    assert kept(target).state == TargetState.PAUSED


@pytest.mark.django_db(transaction=True)
def test_one_owner_has_one_probe_at_a_time(tenant, other):
    mine, theirs = (services.create_target(bucket_of(one), KEYS, actor="ada", staff=False) for one in (tenant, other))
    held = connection.copy()
    try:
        with held.cursor() as cursor:  # another worker's session, which tries a target of the same tenant
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", list(lock_key(f"probe:{tenant.pk}")))
        job = work(mine)
        assert (job.state, job.attempts) == (JobState.QUEUED, 0), "waiting is no failed attempt"
        assert "Another target is being probed" in job.last_error
    finally:
        held.close()
    assert theirs.state == TargetState.NEW


def lock_key(name: str) -> tuple[int, int]:
    from zlib import crc32

    from backup_platform.jobs.ticks import LOCK_CLASS

    return LOCK_CLASS, crc32(name.encode()) - 2**31


def test_a_probe_at_a_prompt_settles_the_one_that_waits(disk):
    assert probe_target(disk, actor="ada").usable
    before = kept(disk).probed_at
    assert work(disk).progress == {"usable": True}
    assert kept(disk).probed_at == before


def test_a_retired_target_is_not_asked(disk):
    services.retire_target(disk, actor="ada")
    assert work(disk).state == JobState.DONE
    assert kept(disk).probed_at is None


def test_asking_twice_makes_one_job(disk):
    services.ask_probe(disk, actor="bob")
    with without_tenant_scope("test"):
        assert Job.objects.filter(subject=f"target:{disk.pk}").count() == 1
        Job.objects.update(created_at=timezone.now() - timedelta(minutes=5))
    assert probing.probing_of(disk).moves
    assert run_alone("another name", lambda: None)
