"""What the sweep puts right: unanswered offers, lost leases, passed deadlines, machines that left. Nothing twice."""

from __future__ import annotations

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from backup_platform.fleet.models import Machine
from backup_platform.jobs import agent_jobs, housekeeping
from backup_platform.jobs.models import Job
from backup_platform.notifications.models import Alert
from backup_platform.tenants.scope import without_tenant_scope
from tests.jobs.machines import Site, job, later, offer, start, state


@pytest.fixture
def site(db) -> Site:
    site = Site("north")
    site.add_machines(3)
    return site


@pytest.fixture
def machine(site):
    return site.machines[0]


def declined_for(job_id: UUID, **time: int) -> None:
    """So long ago it was not taken for the first time."""
    with without_tenant_scope("test"):
        Job.objects.filter(pk=job_id).update(declined_since=timezone.now() - timedelta(**time))


def alerts() -> dict[str, bool]:
    """Kinds of alerts, and whether they are open."""
    with without_tenant_scope("test"):
        return {one.kind: one.resolved_at is None for one in Alert.objects.all()}


def test_an_offer_that_nobody_answers_goes_back_and_its_late_acceptance_is_refused(site, machine):
    site.ask(machine)
    (offered,) = offer(machine)
    assert agent_jobs.sweep_agent_jobs().queued == 0
    later(61)
    assert agent_jobs.sweep_agent_jobs().queued == 1
    assert not agent_jobs.accept(offered.job_id, offered.lease)
    assert (state(offered.job_id), job(offered.job_id).attempts) == ("queued", 0)


@pytest.mark.defence
def test_nothing_stays_running_when_nobody_renews_it(site):
    """A gateway dies with its jobs: after the lease each is queued again, or failed where no attempt is left."""
    once, often, by_hand = site.machines
    site.ask(once, settings={"schedule.attempts": 1})
    site.ask(often)
    offers = [start(once), start(often)]
    hand = agent_jobs.start_by_hand(by_hand)
    assert agent_jobs.RUN_LEASE + timedelta(seconds=15) < timedelta(minutes=2), "a sweep is due every 15 seconds"
    later(agent_jobs.RUN_LEASE.total_seconds() + 1)
    swept = agent_jobs.sweep_agent_jobs()
    assert (swept.failed, swept.queued) == (1, 2)
    assert [state(one.job_id) for one in offers] == ["failed", "queued"]
    assert state(hand) == "queued"


@pytest.mark.defence
def test_a_backup_by_hand_that_waits_is_offered_to_nobody(site, machine):
    agent_jobs.start_by_hand(machine)
    later(100)
    agent_jobs.sweep_agent_jobs()
    later(10 * 60)
    with without_tenant_scope("test"):
        Job.objects.update(next_attempt_at=timezone.now())
    assert offer(machine) == [], "nobody but the machine itself can go on with it"


@pytest.mark.defence
def test_a_backup_by_hand_that_its_machine_does_not_go_on_with_fails_with_advice(site, machine):
    hand = agent_jobs.start_by_hand(machine)
    later(100)
    agent_jobs.sweep_agent_jobs()
    later(14 * 60)
    assert (agent_jobs.sweep_agent_jobs().failed, state(hand)) == (0, "queued")
    later(61)
    assert agent_jobs.sweep_agent_jobs().failed == 1
    failed = job(hand)
    assert (failed.state, "silent" in failed.last_error, "Begin it there again" in failed.advice) == (
        "failed", True, True,
    )  # fmt: skip
    assert alerts() == {"failed": True}
    assert agent_jobs.start_by_hand(machine) != hand


@pytest.mark.defence
def test_a_job_that_is_offered_for_three_days_and_never_answered_fails_with_advice(site, machine):
    job_id = site.ask(machine)
    offer(machine)
    later(61)
    assert agent_jobs.sweep_agent_jobs().queued == 1
    declined_for(job_id, days=2, hours=23)
    later(60)
    offer(machine)
    later(61)
    assert agent_jobs.sweep_agent_jobs().queued == 1
    declined_for(job_id, days=3)
    later(60)
    offer(machine)
    later(61)
    assert agent_jobs.sweep_agent_jobs().failed == 1
    failed = job(job_id)
    assert (failed.state, failed.attempts, bool(failed.advice)) == ("failed", 0, True)
    assert "no answer" in failed.last_error
    assert alerts() == {"failed": True}


def test_a_job_that_was_begun_is_not_missed_by_its_deadline(site):
    late, begun = site.machines[:2]
    soon = timezone.now() + timedelta(seconds=30)
    missed = site.ask(late, deadline=soon)
    job_id = site.ask(begun, deadline=soon)
    start(begun)
    later(100)
    swept = agent_jobs.sweep_agent_jobs()
    assert (swept.missed, swept.queued) == (1, 1)
    assert state(missed) == "missed"
    assert "deadline" in job(missed).last_error
    later(30)
    assert agent_jobs.sweep_agent_jobs().missed == 0
    assert start(begun).job_id == job_id


def test_a_wish_to_stop_that_nobody_answers_ends_as_cancelled(site, machine):
    quiet, stubborn = site.machines[:2]
    for one in (quiet, stubborn):
        site.ask(one)
    offers = [start(one) for one in (quiet, stubborn)]
    for one in offers:
        agent_jobs.cancel(job(one.job_id), "user ann")
    later(100)
    agent_jobs.progress([(offers[1].job_id, offers[1].lease, {})])
    assert agent_jobs.sweep_agent_jobs().cancelled == 1
    assert [state(one.job_id) for one in offers] == ["cancelled", "cancelling"]
    later(600)
    agent_jobs.progress([(offers[1].job_id, offers[1].lease, {})])
    assert agent_jobs.sweep_agent_jobs().cancelled == 1
    assert agent_jobs.progress([(offers[1].job_id, offers[1].lease, {})]) == set(), "its agent is told to stop it"


def test_jobs_of_a_machine_that_left_are_withdrawn(site, machine):
    job_id = site.ask(machine)
    with without_tenant_scope("test"):
        Machine.objects.filter(pk=machine.pk).update(state="revoked")
    assert agent_jobs.sweep_agent_jobs().cancelled == 1
    assert state(job_id) == "cancelled"


def test_statements_do_not_grow_with_machines(site, django_assert_max_num_queries):
    machines = site.add_machines(500)
    with without_tenant_scope("test"):
        agent_jobs.request_backups([agent_jobs.Wanted(site.policy, one) for one in machines])
        Job.objects.update(state="running", lease_owner="x", lease_until=timezone.now(), attempts=1)
    later(10)
    with django_assert_max_num_queries(36):
        assert agent_jobs.sweep_agent_jobs().queued == 500


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_do_nothing_twice(transactional_db):
    site = Site("north")
    for one in site.add_machines(40):
        site.ask(one, deadline=timezone.now() - timedelta(seconds=1))
    begin, missed = threading.Barrier(4), []

    def sweep() -> None:
        begin.wait(30)
        try:
            missed.append(agent_jobs.sweep_agent_jobs().missed)
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    agent_jobs.sweep_agent_jobs()
    assert sum(missed) == 40
    with without_tenant_scope("test"):
        assert set(Job.objects.values_list("state", flat=True)) == {"missed"}


def test_ends_that_people_must_hear_of_raise_alerts_and_a_good_end_resolves_them(site, machine):
    for outcome in ("failed", "warnings", "done"):
        site.ask(machine)
        offered = start(machine)
        agent_jobs.report(offered.job_id, offered.lease, outcome, message="no such directory")
        assert alerts()[outcome] if outcome != "done" else True
    assert alerts() == {"failed": False, "warnings": False}
    site.ask(machine, deadline=timezone.now() - timedelta(seconds=1))
    agent_jobs.sweep_agent_jobs()
    assert alerts()["missed"]


def test_a_defect_in_the_alerts_does_not_undo_a_jobs_end(site, machine, monkeypatch):
    from backup_platform.notifications import about_jobs

    def burst(job):
        Alert.objects.create(tenant_id=job.tenant_id)
        raise RuntimeError("a defect")

    monkeypatch.setattr(about_jobs, "job_ended", burst)
    site.ask(machine)
    offered = start(machine)
    with transaction.atomic():
        assert agent_jobs.report(offered.job_id, offered.lease, "failed")
    assert state(offered.job_id) == "failed"


def test_old_jobs_of_machines_are_forgotten_after_a_year(site, machine):
    for _ in range(2):
        site.ask(machine)
        offered = start(machine)
        agent_jobs.report(offered.job_id, offered.lease, "failed")
        later(200 * 86_400)
    housekeeping.daily()
    with without_tenant_scope("test"):
        assert [one.pk for one in Job.objects.all()] == [offered.job_id]
