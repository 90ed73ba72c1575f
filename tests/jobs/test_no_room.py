"""Backups of a tenant whose quota is used up wait without using up attempts, and their rows say why."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.catalog.models import Wanted
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.no_room import tell_who_waits_for_room
from backup_platform.tenants.scope import without_tenant_scope
from tests.jobs.machines import Site, job, later, offer, start
from tests.tenants.counted import add_pack, set_quota

USED_UP = "The tenant's quota of stored data is used up"


@pytest.fixture
def site(db) -> Site:
    made = Site("north")
    add_pack(made.vault, 2000)
    return made


def fill(site: Site) -> None:
    set_quota(site.tenant.pk, 1000)


def make_room(site: Site) -> None:
    set_quota(site.tenant.pk, 5000)


def test_a_backup_is_not_offered_while_the_quota_is_used_up_and_is_at_once_when_there_is_room(site):
    (machine,) = site.add_machines(1)
    waiting = site.ask(machine)
    fill(site)
    for _ in range(5):
        assert not offer(machine)
        later(3600)
    assert (job(waiting).state, job(waiting).attempts) == (JobState.QUEUED, 0)
    make_room(site)
    assert [one.job_id for one in offer(machine)] == [waiting]


def test_restores_are_offered_and_so_are_other_tenants_backups(site):
    other = Site("south")
    (machine,), (theirs,) = site.add_machines(1), other.add_machines(1)
    site.ask(machine)
    other.ask(theirs)
    with without_tenant_scope("test"):
        Job.objects.create(
            tenant=site.tenant, kind="restore", subject="snapshot:x", dedupe_key="restore:x", machine=machine
        )
    fill(site)
    assert {(one.machine_id, one.kind) for one in offer(machine, theirs)} == {
        (machine.pk, "restore"),
        (theirs.pk, "backup"),
    }


def test_a_machine_that_is_asked_for_chunks_is_offered_its_backup(site):
    one, other = site.add_machines(2)
    for machine in (one, other):
        site.ask(machine)
    with without_tenant_scope("test"):
        Wanted.objects.create(vault=site.vault, machine=one, chunk_id=os.urandom(32))
    fill(site)
    assert [found.machine_id for found in offer(one, other)] == [one.pk]


def test_what_waits_for_room_says_so_until_there_is_some(site):
    (machine,) = site.add_machines(1)
    waiting = site.ask(machine)
    assert tell_who_waits_for_room() == 0
    fill(site)
    assert tell_who_waits_for_room() == 1
    assert tell_who_waits_for_room() == 0, "it is said once"
    assert job(waiting).last_error.startswith(USED_UP)
    assert "larger quota" in job(waiting).advice
    make_room(site)
    assert tell_who_waits_for_room() == 1
    assert (job(waiting).last_error, job(waiting).advice) == ("", "")


def test_a_deadline_that_passes_meanwhile_is_missed_for_that_reason(site):
    (machine,) = site.add_machines(1)
    waiting = site.ask(machine, deadline=timezone.now() + timedelta(hours=1))
    fill(site)
    tell_who_waits_for_room()
    later(7200)
    agent_jobs.sweep_agent_jobs()
    assert job(waiting).state == JobState.MISSED
    assert "quota of stored data was used up" in job(waiting).last_error


def test_an_attempt_that_the_quota_ended_counts_once_and_keeps_its_words(site):
    (machine,) = site.add_machines(1)
    site.ask(machine)
    running = start(machine)
    fill(site)
    said = f"The gateway cannot do this at the moment: {USED_UP}: 2 KiB of 1 KiB."
    agent_jobs.report(running.job_id, running.lease, "temporary", message=said, counts={"exit_code": 5})
    for _ in range(10):
        later(3600)
        tell_who_waits_for_room()
        assert not offer(machine)
    waits = job(running.job_id)
    assert (waits.state, waits.attempts, waits.last_error) == (JobState.QUEUED, 1, said)
    make_room(site)
    again = start(machine)
    assert (again.job_id, job(again.job_id).last_error) == (running.job_id, "")


def test_what_runs_and_what_was_begun_by_hand_is_left_alone(site):
    one, other = site.add_machines(2)
    site.ask(one)
    start(one)
    agent_jobs.start_by_hand(other)
    fill(site)
    assert tell_who_waits_for_room() == 0
