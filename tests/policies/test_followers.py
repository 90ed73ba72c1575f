"""Policies that run after another one has succeeded on the same machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup_platform.jobs.models import Job, JobLine, JobState
from backup_platform.policies.planning import replan
from backup_platform.policies.ticking import after_job_ended, tick
from backup_platform.tenants.scope import tenant_scope

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
SAVED = {"selection.sources": ["/home"]}
FIRST = {"schedule.kind": "cron", "schedule.cron": "0 * * * *", "schedule.zone": "utc", "schedule.jitter_minutes": 0}


@pytest.fixture
def chain(ours):
    """Two machines, a first policy, and one that follows it."""
    first = ours.policy("First", **FIRST, **SAVED)
    second = ours.policy("Second", **SAVED, **{"schedule.after_policy": str(first.pk), "schedule.priority": 3})
    for policy in (first, second):
        ours.assign(policy)
    ours.machines(2)
    replan(ours.tenant.pk, now=NOON - timedelta(minutes=1))
    return ours, first, second


def ended(place, policy, state=JobState.DONE, at=NOON + timedelta(minutes=7)) -> Job:
    """The policy's job on the first machine, ended."""
    with tenant_scope(place.tenant):
        job = Job.objects.filter(policy=policy).order_by("machine_id").first()
        Job.objects.filter(pk=job.pk).update(state=state, finished_at=at)
        job.refresh_from_db()
    return job


def follow(place, job) -> list:
    with tenant_scope(place.tenant):
        return after_job_ended(job)


def of(place, policy) -> list[Job]:
    with tenant_scope(place.tenant):
        return list(Job.objects.filter(policy=policy).order_by("due_at"))


@pytest.mark.parametrize("state", [JobState.DONE, JobState.WARNINGS])
def test_the_second_runs_on_the_machine_where_the_first_succeeded_and_only_once(chain, state):
    place, first, second = chain
    tick(NOON)
    job = ended(place, first, state)
    assert len(follow(place, job)) == 1
    assert follow(place, job) == []
    (followed,) = of(place, second)
    assert (followed.machine_id, followed.due_at, followed.priority) == (job.machine_id, job.finished_at, 3)
    assert followed.state == JobState.QUEUED
    assert "First" in followed.asked_by


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.MISSED, JobState.RUNNING])
def test_it_does_not_run_after_anything_else(chain, state):
    place, first, second = chain
    tick(NOON)
    assert follow(place, ended(place, first, state)) == []
    assert of(place, second) == []


def test_repeating_the_end_of_a_job_makes_no_second_follower_even_when_that_is_finished(chain):
    place, first, second = chain
    tick(NOON)
    job = ended(place, first)
    follow(place, job)
    with tenant_scope(place.tenant):
        Job.objects.filter(policy=second).update(state=JobState.DONE)
    assert follow(place, job) == []


def test_a_follower_waits_for_its_window(chain):
    place, first, second = chain
    windows = [{"days": list(range(7)), "from": "22:00", "until": "04:00"}]
    with tenant_scope(place.tenant):
        type(second).objects.filter(pk=second.pk).update(
            settings={**second.settings, "schedule.windows": windows, "schedule.zone": "utc"}
        )
    replan(place.tenant.pk, now=NOON - timedelta(minutes=1))
    tick(NOON)
    follow(place, ended(place, first))
    (followed,) = of(place, second)
    assert followed.due_at == NOON.replace(hour=22)
    assert followed.deadline == followed.due_at + timedelta(days=1)


def test_a_follower_that_still_runs_is_not_begun_twice_and_says_so(chain):
    place, first, second = chain
    tick(NOON)
    follow(place, ended(place, first))
    tick(NOON + timedelta(hours=1))
    with tenant_scope(place.tenant):
        again = Job.objects.get(policy=first, machine_id=of(place, second)[0].machine_id, state=JobState.QUEUED)
        Job.objects.filter(pk=again.pk).update(state=JobState.DONE, finished_at=NOON + timedelta(hours=2))
        again.refresh_from_db()
    assert follow(place, again) == []
    assert len(of(place, second)) == 1
    with tenant_scope(place.tenant):
        assert "no second one was begun" in JobLine.objects.get(job__policy=second).text


@pytest.mark.parametrize("who", ["policy", "machine"])
def test_a_paused_follower_does_not_run(chain, who):
    place, first, second = chain
    tick(NOON)
    job = ended(place, first)
    with tenant_scope(place.tenant):
        row = second if who == "policy" else job.machine
        type(row).objects.filter(pk=row.pk).update(paused_at=NOON)
    assert follow(place, job) == []
