"""The tick turns due plans into jobs: each once, late ones as their policy says, whatever stands in the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.fleet.models import MachineState
from backup_platform.jobs.asking import request_backup
from backup_platform.jobs.models import Job, JobLine, JobState
from backup_platform.policies import ticking
from backup_platform.policies.lateness import MOST_COUNTED, decide
from backup_platform.policies.models import Plan, PlanSettings
from backup_platform.policies.planned import schedule_text
from backup_platform.policies.planning import replan
from backup_platform.policies.ticking import Ticked, tick
from backup_platform.policies.timetable import next_runs, read
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
HOURLY = {
    "schedule.kind": "cron",
    "schedule.cron": "0 * * * *",
    "schedule.zone": "utc",
    "schedule.jitter_minutes": 0,
    "selection.sources": ["/home"],
}


def planned(place, now=NOON - MINUTE, machines=1, **settings):
    """A policy for the whole tenant with its plans."""
    policy = place.policy(**{**HOURLY, **settings})
    place.assign(policy)
    made = place.machines(machines)
    replan(place.tenant.pk, now=now)
    return policy, made


def jobs() -> list[Job]:
    with without_tenant_scope("a test"):
        return list(Job.objects.order_by("due_at", "machine_id"))


def only_plan() -> Plan:
    with without_tenant_scope("a test"):
        return Plan.objects.select_related("shared").get()


def lines() -> list[str]:
    with without_tenant_scope("a test"):
        return list(JobLine.objects.order_by("pk").values_list("text", flat=True))


def finish(state: str = JobState.DONE) -> None:
    with without_tenant_scope("a test"):
        Job.objects.filter(state=JobState.QUEUED).update(state=state, finished_at=NOON)


def change(row, **values) -> None:
    with without_tenant_scope("a test"):
        type(row).objects.filter(pk=row.pk).update(**values)


def test_a_due_plan_becomes_a_job_and_is_due_again_later(ours):
    policy, (machine,) = planned(ours)
    assert tick(NOON - timedelta(seconds=1)) == Ticked()
    assert tick(NOON + timedelta(seconds=9)) == Ticked(due=1, made=1)
    (job,) = jobs()
    assert (job.policy_id, job.machine_id, job.due_at) == (policy.pk, machine.pk, NOON)
    plan = only_plan()
    assert (plan.last_due_at, plan.next_run_at) == (NOON, NOON + HOUR)
    assert tick(NOON + timedelta(seconds=24)) == Ticked()


def test_its_job_is_the_same_that_asking_for_one_would_make(ours):
    policy, (machine,) = planned(
        ours, **{"schedule.priority": 7, "schedule.attempts": 3, "schedule.deadline_minutes": 90}
    )
    tick(NOON)
    (job,) = jobs()
    assert (job.priority, job.max_attempts, job.deadline) == (7, 3, NOON + 90 * MINUTE)
    finish(JobState.CANCELLED)
    request_backup(
        policy,
        machine,
        due_at=NOON + HOUR,
        deadline=NOON + HOUR + 90 * MINUTE,
        priority=7,
        origin="schedule",
        asked_by="",
        settings=only_plan().settings,
    )
    first, second = (
        {field.attname: getattr(row, field.attname) for field in Job._meta.concrete_fields} for row in jobs()
    )
    times = {"due_at", "deadline", "next_attempt_at", "created_at"}
    for row in (first, second):
        for name in {"id", "state", "finished_at"} | times:
            del row[name]
    assert first == second


def with_schedule(plan: Plan, **wrong) -> PlanSettings:
    """Settings that no check would have let through."""
    text = schedule_text({**plan.settings, **wrong})
    with without_tenant_scope("a test"):
        return PlanSettings.objects.create(tenant=plan.tenant, digest=str(plan.pk), values=plan.settings, schedule=text)


def test_wrong_numbers_in_the_settings_do_not_stop_the_lot(ours):
    planned(ours, machines=3)
    with without_tenant_scope("a test"):
        broken, odd, _ = Plan.objects.select_related("shared").order_by("pk")
    change(broken, shared=with_schedule(broken, **{"schedule.cron": "nonsense"}))
    change(odd, shared=with_schedule(odd, **{"schedule.priority": "high", "schedule.attempts": 10**12}))
    assert tick(NOON) == Ticked(due=3, made=2)
    with without_tenant_scope("a test"):
        broken.refresh_from_db()
    assert broken.next_run_at is None
    assert "five fields" in broken.fault
    assert sorted((job.priority, job.max_attempts) for job in jobs()) == [(0, 5), (0, 10)]


def test_after_an_outage_one_late_job_stands_for_all_that_passed(ours):
    planned(ours, **{"schedule.cron": "*/15 * * * *"})
    back = NOON + 2 * HOUR + 7 * MINUTE
    assert tick(back) == Ticked(due=1, made=1)
    (job,) = jobs()
    assert job.due_at == NOON + 2 * HOUR
    assert "8 earlier runs passed" in lines()[0]
    assert only_plan().next_run_at == NOON + 2 * HOUR + 15 * MINUTE
    assert job.deadline > back


def test_a_late_run_has_its_whole_deadline_before_it(ours):
    planned(ours, **{"schedule.cron": "0 12 * * *", "schedule.deadline_minutes": 60})
    tick(NOON + 5 * HOUR)
    (job,) = jobs()
    assert (job.due_at, job.deadline) == (NOON, NOON + 6 * HOUR)


def test_a_policy_that_leaves_missed_runs_out_has_them_written_down_as_missed(ours):
    planned(ours, **{"schedule.catch_up": "skip"})
    assert tick(NOON + 2 * HOUR + 7 * MINUTE) == Ticked(due=1, missed=1)
    (job,) = jobs()
    assert (job.state, job.due_at) == (JobState.MISSED, NOON + 2 * HOUR)
    assert job.finished_at is not None
    assert "So did 2 earlier runs" in job.last_error
    assert job.advice
    assert tick(NOON + 3 * HOUR + MINUTE) == Ticked(due=1, made=1)


def test_with_leaving_out_a_run_that_is_only_just_late_is_made_and_those_before_are_missed(ours):
    planned(ours, **{"schedule.catch_up": "skip"})
    assert tick(NOON + 2 * HOUR + 2 * MINUTE) == Ticked(due=1, made=1, missed=1)
    missed, made = jobs()
    assert (missed.state, missed.due_at) == (JobState.MISSED, NOON)
    assert (made.state, made.due_at) == (JobState.QUEUED, NOON + 2 * HOUR)


def test_a_year_without_a_tick_ends_with_one_job_and_a_bounded_search(ours):
    planned(ours, **{"schedule.cron": "* * * * *"})
    assert tick(NOON + timedelta(days=365)) == Ticked(due=1, made=1)
    assert jobs()[0].due_at == NOON + timedelta(days=365)
    assert f"more than {MOST_COUNTED} earlier runs" in lines()[0]


def test_a_run_that_is_not_finished_gets_no_second_one_but_a_note(ours):
    planned(ours)
    tick(NOON)
    assert tick(NOON + HOUR) == Ticked(due=1, busy=1)
    assert len(jobs()) == 1
    assert lines() == ["Due again at 2026-05-04 13:00 UTC; as this run was not finished, no second one was begun."]
    finish()
    assert tick(NOON + 2 * HOUR) == Ticked(due=1, made=1)


def test_a_job_that_runs_for_long_is_not_filled_with_notes(ours):
    planned(ours, **{"schedule.cron": "* * * * *"})
    for minute in range(30):
        tick(NOON + minute * MINUTE)
    assert len(jobs()) == 1
    assert len(lines()) == 1


@pytest.mark.parametrize("how", ["machine paused", "policy paused", "machine revoked"])
def test_nothing_becomes_due_of_what_is_paused_or_gone_even_if_nobody_planned_again(ours, how):
    policy, (machine,) = planned(ours)
    row, values = {
        "machine paused": (machine, {"paused_at": NOON}),
        "policy paused": (policy, {"paused_at": NOON}),
        "machine revoked": (machine, {"state": MachineState.REVOKED}),
    }[how]
    change(row, **values)
    assert tick(NOON) == Ticked(due=1)
    assert jobs() == []
    assert only_plan().next_run_at is None


def test_a_clock_that_is_set_back_by_an_hour_makes_nothing_twice(ours):
    planned(ours, **{"schedule.cron": "*/10 * * * *"})
    for minute in range(0, 61, 10):
        tick(NOON + minute * MINUTE)
        finish()
    for minute in range(0, 61, 5):  # the same hour again, with somebody planning in the middle of it
        tick(NOON + minute * MINUTE)
        replan(ours.tenant.pk, now=NOON + minute * MINUTE)
        finish()
    assert [job.due_at for job in jobs()] == [NOON + minute * MINUTE for minute in range(0, 61, 10)]
    tick(NOON + 70 * MINUTE)
    assert jobs()[-1].due_at == NOON + 70 * MINUTE


def test_a_due_time_that_has_its_job_is_passed_by_even_if_the_plan_was_put_back(ours):
    planned(ours)
    tick(NOON)
    finish()
    change(only_plan(), next_run_at=NOON, last_due_at=None)
    assert tick(NOON + MINUTE).made == 0
    assert len(jobs()) == 1
    assert only_plan().next_run_at == NOON + HOUR


def test_a_server_in_utc_runs_a_machine_in_berlin_at_its_own_times_over_the_change(ours):
    policy = ours.policy(**{**HOURLY, "schedule.cron": "30 2 * * *", "schedule.zone": "machine"})
    ours.assign(policy)
    ours.machine(zone="Europe/Berlin")
    begin = datetime(2026, 10, 23, 12, tzinfo=UTC)
    replan(ours.tenant.pk, now=begin)
    for quarter in range(4 * 24 * 4):
        tick(begin + quarter * 15 * MINUTE)
        finish()
    assert [f"{job.due_at:%d %H:%M}" for job in jobs()] == ["24 00:30", "25 00:30", "26 01:30", "27 01:30"]


def test_the_number_of_queries_does_not_grow_with_the_number_of_plans(ours):
    planned(ours, machines=20)
    with CaptureQueriesContext(connection) as few:
        assert tick(NOON).made == 20
    finish()
    ours.machines(1000)
    replan(ours.tenant.pk, now=NOON + MINUTE)
    with CaptureQueriesContext(connection) as many:
        assert tick(NOON + HOUR).made == 1020
    assert len(many) == len(few) <= 6


def test_more_plans_than_a_lot_holds_are_all_taken(ours, monkeypatch):
    monkeypatch.setattr(ticking, "LOT", 7)
    planned(ours, machines=30)
    assert tick(NOON) == Ticked(due=30, made=30)


def test_tenants_keep_their_own(ours, theirs):
    (mine, (my_machine,)), (other, (their_machine,)) = planned(ours), planned(theirs)
    tick(NOON)
    with tenant_scope(ours.tenant):
        assert [(job.policy_id, job.machine_id) for job in Job.objects.all()] == [(mine.pk, my_machine.pk)]
    with tenant_scope(theirs.tenant):
        assert [(job.policy_id, job.machine_id) for job in Job.objects.all()] == [(other.pk, their_machine.pk)]


@given(
    line=st.sampled_from(["*/7 * * * *", "30 * * * *", "0 2 * * *", "15 1-4 * * mon-fri"]),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    pauses=st.lists(st.integers(1, 400), min_size=1, max_size=40),
)
def test_whenever_ticks_come_every_run_is_made_or_counted_as_passed(line, zone, pauses):
    begin = datetime(2026, 10, 24, 12, tzinfo=UTC)
    timetable = read({"schedule.kind": "cron", "schedule.cron": line, "schedule.jitter_minutes": 5}, zone)
    due, now, made, covered = next_runs(begin, timetable, "m", 1)[0], begin, [], 0
    for pause in pauses:
        now += pause * MINUTE
        if due <= now:
            decision = decide(due, now, timetable, "m")
            made.append(decision.due_at)
            covered += decision.passed + 1
            due = decision.next_run_at
            assert decision.due_at <= now < due
            assert decision.passed <= MOST_COUNTED + 1
            if decision.passed > MOST_COUNTED:
                return
    assert all(earlier < later for earlier, later in pairwise(made))
    wanted = [run for run in next_runs(begin, timetable, "m", covered + 1) if run <= now]
    assert covered == len(wanted)
    assert set(made) <= set(wanted)
