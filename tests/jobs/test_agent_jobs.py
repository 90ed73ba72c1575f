"""The life of a machine's job, as gateways and agents tell it: offered, accepted, heard of, ended or lost."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.jobs import agent_jobs, services, sweeping
from backup_platform.jobs.models import Job, JobLine
from backup_platform.tenants.scope import ScopeError, tenant_scope, without_tenant_scope
from tests.jobs.machines import SETTINGS, Site, job, later, offer, start, state


@pytest.fixture
def site(db) -> Site:
    site = Site("north")
    site.add_machines(2)
    return site


@pytest.fixture
def machine(site):
    return site.machines[0]


def test_a_backup_goes_from_the_queue_to_done(site, machine):
    job_id = site.ask(machine)
    (offered,) = offer(machine)
    assert (offered.job_id, offered.machine_id, offered.kind) == (job_id, machine.pk, "backup")
    assert offered.spec["policy"] == "Documents"
    assert offered.spec["settings"] == {"selection.sources": ["/srv"]}, (
        "what the schedule says is not the machine's to do"
    )
    assert (job(job_id).state, job(job_id).attempts) == ("offered", 0)
    assert agent_jobs.accept(job_id, offered.lease)
    assert (job(job_id).state, job(job_id).attempts, job(job_id).gateway) == ("running", 1, "g1")
    snapshot = uuid4()
    assert agent_jobs.report(
        job_id, offered.lease, "done", snapshot=snapshot, counts={"files": 3, "bad": "x", "a\0b": 1}
    )
    ended = job(job_id)
    assert (ended.state, ended.snapshot, ended.counts, ended.lease_owner) == ("done", snapshot, {"files": 3}, "")
    assert ended.finished_at is not None
    assert ended.started_at is not None


@pytest.mark.defence
def test_a_due_time_is_asked_for_once_even_after_its_job_has_ended(site, machine):
    due = timezone.now() - timedelta(minutes=1)
    job_id = site.ask(machine, due_at=due)
    assert site.ask(machine, due_at=due) is None
    offered = start(machine)
    agent_jobs.report(job_id, offered.lease, "done")
    assert site.ask(machine, due_at=due) is None
    assert site.ask(machine, due_at=due + timedelta(hours=1)) is not None


@pytest.mark.defence
def test_a_policy_has_one_unfinished_job_on_a_machine(site, machine):
    assert site.ask(machine) is not None
    assert site.ask(machine) is None
    assert site.ask(site.machines[1]) is not None
    assert site.ask(machine, site.add_policy("Photos")) is not None


def test_many_are_asked_for_at_once_and_answered_in_order(site, machine, django_assert_max_num_queries):
    wanted = [agent_jobs.Wanted(site.policy, one, settings=SETTINGS) for one in site.machines]
    site.ask(machine)
    more = site.add_machines(300)
    wanted += [agent_jobs.Wanted(site.policy, one, settings=SETTINGS) for one in more]
    with without_tenant_scope("as the tick does"), django_assert_max_num_queries(5):
        answers = agent_jobs.request_backups(wanted)
    assert answers[0] is None
    assert None not in answers[1:]


def test_a_policy_is_not_run_on_another_tenants_machine(site):
    other = Site("south")
    (foreign,) = other.add_machines(1)
    with pytest.raises(ScopeError):
        site.ask(foreign)


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("done", "done"), ("warnings", "warnings"), ("failed", "failed"), ("cancelled", "cancelled")],
)
def test_an_outcome_ends_a_job_once_and_repeating_it_changes_nothing(site, machine, outcome, expected):
    site.ask(machine)
    offered = start(machine)
    assert agent_jobs.report(offered.job_id, offered.lease, outcome)
    assert state(offered.job_id) == expected
    for again in ("done", "failed", "temporary"):
        assert not agent_jobs.report(offered.job_id, offered.lease, again)
    assert state(offered.job_id) == expected


def test_an_outcome_that_does_not_exist_is_refused_with_the_list(site, machine):
    with pytest.raises(ValueError, match="warnings"):
        agent_jobs.report(uuid4(), "x", "splendid")


def test_a_temporary_failure_is_tried_again_after_growing_pauses_and_then_fails(site, machine):
    job_id = site.ask(machine, settings={"schedule.attempts": 6})
    pauses = []
    for _ in range(6):
        later(3_600)
        offered = start(machine)
        agent_jobs.report(job_id, offered.lease, "temporary", counts={"exit_code": 5})
        pauses.append((job(job_id).next_attempt_at - timezone.now()).total_seconds())
    ended = job(job_id)
    assert (ended.state, ended.attempts) == ("failed", 6)
    assert "away" in ended.last_error
    assert ended.advice
    assert pauses[0] <= 0.1
    for pause, step in zip(pauses[1:5], (2, 4, 8, 60), strict=True):
        assert 0.75 * step - 5 <= pause <= 1.25 * step


def test_a_refused_key_is_tried_few_times_and_minutes_apart(site, machine):
    job_id = site.ask(machine, settings={"schedule.attempts": 10})
    for attempt in (1, 2, 3):
        later(3_600)
        offered = start(machine)
        agent_jobs.report(job_id, offered.lease, "failed", counts={"exit_code": 4})
        if attempt < 3:
            assert job(job_id).next_attempt_at > timezone.now() + timedelta(seconds=60)
    assert state(job_id) == "failed"
    assert "certificate" in job(job_id).last_error


def test_a_machine_that_declines_is_left_alone_for_a_while_and_no_attempt_counts(site, machine):
    site.ask(machine)
    (offered,) = offer(machine)
    assert agent_jobs.decline(offered.job_id, offered.lease, "on battery\nand low", 600)
    declined = job(offered.job_id)
    assert (declined.state, declined.attempts, declined.last_error) == ("queued", 0, "on battery and low")
    assert not agent_jobs.accept(offered.job_id, offered.lease)
    assert not offer(machine)
    later(601)
    assert offer(machine)


@pytest.mark.defence
def test_what_a_machine_declines_for_three_days_fails_with_what_it_says(site, machine):
    job_id = site.ask(machine)
    for hours in (0, 71, 72):
        with without_tenant_scope("test"):
            since = timezone.now() - timedelta(hours=hours)
            Job.objects.filter(pk=job_id, declined_since__isnull=False).update(declined_since=since)
        later(3600)
        (offered,) = offer(machine)
        assert state(job_id) == "offered"
        assert agent_jobs.decline(job_id, offered.lease, "It is on battery.", 600)
    failed = job(job_id)
    assert (failed.state, failed.attempts) == ("failed", 0)
    assert "It is on battery." in failed.last_error
    assert "charger" in failed.advice
    assert not agent_jobs.decline(job_id, offered.lease, "", 1)
    assert site.ask(machine), "the next due time has a job again"


def test_a_job_that_its_machine_took_once_begins_its_three_days_anew(site, machine):
    job_id = site.ask(machine)
    (offered,) = offer(machine)
    agent_jobs.decline(job_id, offered.lease, "It is on battery.", 1)
    assert job(job_id).declined_since is not None
    later(10)
    start(machine)
    assert job(job_id).declined_since is None


@pytest.mark.defence
def test_what_an_old_lease_says_changes_nothing(site, machine):
    job_id = site.ask(machine)
    old = start(machine)
    later(100)
    agent_jobs.sweep_agent_jobs()
    later(30)
    new = start(machine)
    assert new.job_id == job_id
    assert agent_jobs.progress([(job_id, old.lease, {"bytes_done": 1})]) == set()
    assert not agent_jobs.report(job_id, old.lease, "done")
    assert not agent_jobs.add_lines(job_id, old.lease, [{"level": "info", "text": "late"}])
    assert not agent_jobs.resume(job_id, old.lease, "g2")
    assert not agent_jobs.accept(job_id, old.lease)
    assert not agent_jobs.decline(job_id, old.lease, "", 1)
    now = job(job_id)
    assert (now.state, now.attempts, now.lease_owner, now.progress) == ("running", 2, new.lease, {})
    assert agent_jobs.report(job_id, new.lease, "done")


def test_no_lease_is_no_lease(site, machine):
    job_id = site.ask(machine)
    assert not agent_jobs.accept(job_id, "")
    assert not agent_jobs.report(job_id, "", "done")
    assert not agent_jobs.resume(job_id, "", "g")
    assert agent_jobs.progress([(job_id, "", {})]) == set()
    assert state(job_id) == "queued"


def test_progress_of_many_jobs_is_one_statement_and_says_which_were_lost(site, django_assert_num_queries):
    site.add_machines(50)
    for one in site.machines:
        site.ask(one)
    offers = offer(*site.machines, limit=50)
    for one in offers:
        agent_jobs.accept(one.job_id, one.lease)
    updates = [(one.job_id, one.lease, {"phase": "saving", "bytes_done": 5}) for one in offers]
    lost = (uuid4(), "x", {"phase": "saving"})
    with django_assert_num_queries(1):
        kept = agent_jobs.progress([*updates, lost])
    assert kept == {one.job_id for one in offers}
    assert job(offers[0].job_id).progress == {"phase": "saving", "bytes_done": 5}
    agent_jobs.progress([(offers[0].job_id, offers[0].lease, {})])
    assert job(offers[0].job_id).progress == {"phase": "saving", "bytes_done": 5}


@pytest.mark.defence
def test_a_files_name_is_kept_only_where_the_tenant_opted_in(site, machine):
    said = {"phase": "saving", "file": "/home/ann/secret.txt", "files_done": 1, "other": "/home/ann", "rate": "x"}
    site.ask(machine)
    open_minded = site.machines[1]
    site.ask(open_minded, settings={"privacy.file_names_in_progress": True})
    for one, kept in ((machine, {}), (open_minded, {"file": "/home/ann/secret.txt"})):
        offered = start(one)
        agent_jobs.progress([(offered.job_id, offered.lease, said)])
        assert job(offered.job_id).progress == {"phase": "saving", "files_done": 1, **kept}


def test_log_lines_are_cut_cleaned_and_bounded(site, machine):
    site.ask(machine)
    offered = start(machine)
    lines = [{"level": "shout", "text": f"line {number}\x1b[31m\n" + "x" * 600} for number in range(600)]
    for _ in range(2):
        assert agent_jobs.add_lines(offered.job_id, offered.lease, lines)
    with without_tenant_scope("test"):
        kept = list(JobLine.objects.filter(job_id=offered.job_id))
    assert len(kept) == 1_000
    assert kept[-1].text.startswith("line 599 [31m x")
    assert {(line.level, len(line.text)) for line in kept} == {("info", 500)}


def test_a_machine_that_comes_back_goes_on_where_it_was(site, machine):
    site.ask(machine)
    offered = start(machine)
    assert agent_jobs.resume(offered.job_id, offered.lease, "g2"), "another gateway, the lease still good"
    later(100)
    assert agent_jobs.sweep_agent_jobs().queued == 1
    assert state(offered.job_id) == "queued"
    assert agent_jobs.resume(offered.job_id, offered.lease, "g3"), "the lease ran out, and nobody else has it"
    now = job(offered.job_id)
    assert (now.state, now.attempts, now.gateway) == ("running", 1, "g3")


def test_a_job_whose_acceptance_was_never_written_down_can_be_resumed_and_its_attempt_counts(site, machine):
    site.ask(machine)
    (offered,) = offer(machine)
    assert agent_jobs.resume(offered.job_id, offered.lease, "g2")
    assert (state(offered.job_id), job(offered.job_id).attempts) == ("running", 1)


def test_a_report_that_comes_after_the_lease_still_counts_if_nobody_else_has_the_job(site, machine):
    site.ask(machine)
    offered = start(machine)
    later(100)
    agent_jobs.sweep_agent_jobs()
    assert agent_jobs.report(offered.job_id, offered.lease, "done")
    assert state(offered.job_id) == "done"


def test_a_lost_backup_is_not_resumed_beside_another_one(site, machine):
    photos = site.add_policy("Photos")
    site.ask(machine)
    lost = start(machine)
    later(100)
    agent_jobs.sweep_agent_jobs()
    site.ask(machine, photos, priority=5)
    other = start(machine)
    assert other.job_id != lost.job_id
    assert not agent_jobs.resume(lost.job_id, lost.lease, "g2")
    agent_jobs.report(other.job_id, other.lease, "done")
    assert agent_jobs.resume(lost.job_id, lost.lease, "g2")


def test_what_an_agent_does_not_hold_any_more_is_begun_anew_at_once(site, machine):
    job_id = site.ask(machine)
    start(machine)
    assert agent_jobs.give_up_lost(machine.pk, [job_id]) == 0
    assert agent_jobs.give_up_lost(machine.pk, []) == 1
    assert state(job_id) == "queued"


def test_a_backup_by_hand_is_one_job_however_often_its_connection_begins_anew(site, machine):
    job_id = agent_jobs.start_by_hand(machine, policy_name="Documents")
    assert agent_jobs.start_by_hand(machine) == job_id
    assert agent_jobs.progress_by_hand([(job_id, {"bytes_done": 7}), (uuid4(), {})]) == {job_id}
    assert agent_jobs.give_up_lost(machine.pk, []) == 0, "the daemon does not know of it"
    begun = job(job_id)
    assert (begun.state, begun.origin, begun.policy_id, begun.progress) == (
        "running", "machine", site.policy.pk, {"bytes_done": 7},
    )  # fmt: skip
    assert agent_jobs.finish_by_hand(job_id, "warnings")
    assert not agent_jobs.finish_by_hand(job_id, "done")
    assert state(job_id) == "warnings"
    assert agent_jobs.start_by_hand(machine) != job_id


@pytest.mark.defence
def test_a_backup_by_hand_whose_machine_was_away_for_minutes_is_still_one_job(site, machine):
    job_id = agent_jobs.start_by_hand(machine)
    later(100)
    agent_jobs.sweep_agent_jobs()
    assert state(job_id) == "queued"
    assert agent_jobs.start_by_hand(machine) == job_id
    assert (state(job_id), job(job_id).last_error) == ("running", "")
    later(100)
    agent_jobs.sweep_agent_jobs()
    assert agent_jobs.progress_by_hand([(job_id, {"bytes_done": 7})]) == {job_id}, "its gateway was away, not it"
    assert state(job_id) == "running"
    later(100)
    agent_jobs.sweep_agent_jobs()
    assert agent_jobs.finish_by_hand(job_id, "done")
    assert (state(job_id), job(job_id).attempts) == ("done", 1)


def test_workers_never_touch_a_machines_job(site, machine, sent):
    with without_tenant_scope("test"):
        waiting = site.ask(machine)
        assert services.claim(waiting) is None
        offered = start(machine)
        later(10_000)
        sweeping.sweep()
        assert sent == []
        assert Job.objects.get().lease_owner == offered.lease
        assert state(waiting) == "running"


def test_a_tenants_scope_sees_its_own_jobs_and_lines_only(site, machine):
    site.ask(machine)
    offered = start(machine)
    agent_jobs.add_lines(offered.job_id, offered.lease, [{"level": "info", "text": "hello"}])
    with tenant_scope(Site("south").tenant):
        assert not Job.objects.exists()
        assert not JobLine.objects.exists()
    with tenant_scope(site.tenant):
        assert JobLine.objects.get().text == "hello"


def test_a_backup_begins_for_its_own_machine_while_nobody_took_the_job_back(site, machine):
    job_id = site.ask(machine)
    assert not agent_jobs.begin_backup(job_id, machine.pk), "it was not even offered"
    offered = start(machine)
    assert agent_jobs.begin_backup(job_id, machine.pk)
    assert not agent_jobs.begin_backup(job_id, site.machines[1].pk)
    later(100)
    agent_jobs.sweep_agent_jobs()
    assert agent_jobs.begin_backup(job_id, machine.pk), "it may still take the job up again"
    agent_jobs.resume(job_id, offered.lease, "g1")
    agent_jobs.cancel(job(job_id), "user ann")
    assert not agent_jobs.begin_backup(job_id, machine.pk)


def test_the_snapshot_is_noted_even_when_the_report_is_lost(site, machine):
    job_id, snapshot = site.ask(machine), uuid4()
    start(machine)
    assert not agent_jobs.note_snapshot(job_id, site.machines[1].pk, uuid4())
    assert agent_jobs.note_snapshot(job_id, machine.pk, snapshot)
    assert job(job_id).snapshot == snapshot


def test_a_job_for_another_tenants_machine_cannot_be_made_in_a_tenants_scope(site, machine):
    with tenant_scope(Site("south").tenant):
        for ask in (lambda: site.ask(machine), lambda: agent_jobs.start_by_hand(machine)):
            with pytest.raises(ScopeError):
                ask()
