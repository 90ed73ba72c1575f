"""Drills that were begun on a machine: they stand in the work list, prove snapshots, raise alerts, and are audited."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.jobs import agent_jobs, people
from backup_platform.jobs.drills_by_hand import TooManyDrills, note_drill
from backup_platform.jobs.due_drills import plan_drills
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.models import Job, JobOrigin, JobState
from backup_platform.notifications.models import Alert
from backup_platform.tenants.models import Role
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.jobs.machines import Site
from tests.jobs.test_drills import drills, machine_of, policy_of, proven, sign_in, snapshot_of

pytestmark = pytest.mark.django_db
SOUND = {"files": 5, "bytes": 999, "faults": 0, "damaged": 0, "seconds": 12, "exit_code": 0}


@pytest.fixture
def site() -> Site:
    return Site("north")


def test_it_proves_the_snapshot_and_stands_among_the_jobs(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    snapshot = snapshot_of(machine, policy)
    assert note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    assert proven(snapshot) is not None
    (made,) = drills()
    assert (made.state, made.origin, made.machine_id, made.snapshot) == ("done", "machine", machine.pk, snapshot.pk)
    assert made.asked_by == f"by hand on {machine.name}"
    assert made.counts["files"] == 5
    assert (made.finished_at - made.started_at).total_seconds() >= 12
    assert plan_drills() == 0, "a proof is a proof, whoever asked for it"


def test_it_is_audited(site):
    machine, policy = machine_of(site), policy_of(site)
    snapshot = snapshot_of(machine, policy)
    note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    with tenant_scope(site.tenant.pk):
        line = Entry.objects.get(verb="drill.by_hand")
    assert line.actor == f"machine {machine.name}"
    assert line.object == f"snapshot:{snapshot.pk}"
    assert (line.detail["outcome"], line.detail["proven"]) == ("done", True)


def test_told_twice_it_is_kept_once(site):
    machine, policy, drill = machine_of(site), policy_of(site), uuid4()
    snapshot = snapshot_of(machine, policy)
    assert note_drill(machine, drill, snapshot.pk, "done", counts=SOUND)
    first = proven(snapshot)
    assert note_drill(machine, drill, snapshot.pk, "done", counts=SOUND)
    assert len(drills()) == 1
    assert proven(snapshot) == first
    with tenant_scope(site.tenant.pk):
        assert Entry.objects.filter(verb="drill.by_hand").count() == 1


def test_repetition_cannot_say_otherwise(site):
    machine, policy, drill = machine_of(site), policy_of(site), uuid4()
    snapshot = snapshot_of(machine, policy)
    assert not note_drill(machine, drill, snapshot.pk, "failed", counts={"faults": 2, "damaged": 2})
    assert not note_drill(machine, drill, snapshot.pk, "done", counts=SOUND)
    assert proven(snapshot) is None


def test_two_machines_may_call_their_drills_the_same(site):
    machine, other, policy, drill = machine_of(site), machine_of(site), policy_of(site), uuid4()
    for each in (machine, other):
        assert note_drill(each, drill, snapshot_of(each, policy).pk, "done", counts=SOUND)
    assert len(drills()) == 2


@pytest.mark.defence
@pytest.mark.parametrize("outcome", ["temporary", "cancelled", "", "DONE"])
def test_end_that_is_none_is_refused(site, outcome):
    machine, policy = machine_of(site), policy_of(site)
    with pytest.raises(ValueError, match="no end of a drill"):
        note_drill(machine, uuid4(), snapshot_of(machine, policy).pk, outcome, counts=SOUND)
    assert drills() == []


@pytest.mark.defence
def test_another_machines_snapshot_is_not_proven(site):
    machine, other, policy = machine_of(site), machine_of(site), policy_of(site)
    snapshot = snapshot_of(other, policy)
    with pytest.raises(JobRefused, match="not this machine's"):
        note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    assert proven(snapshot) is None
    assert drills() == []


def test_failure_opens_the_alert_of_drills_and_the_next_good_one_closes_it(site):
    machine, policy = machine_of(site), policy_of(site)
    snapshot = snapshot_of(machine, policy)
    note_drill(machine, uuid4(), snapshot.pk, "failed", message="2 of 5 did not come back.", counts={"damaged": 2})
    with tenant_scope(site.tenant.pk):
        alert = Alert.objects.get(machine=machine)
        assert "2 of 5 did not come back." in alert.text
        assert alert.resolved_at is None
    note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    with tenant_scope(site.tenant.pk):
        alert.refresh_from_db()
        assert alert.resolved_at is not None


@pytest.mark.defence
def test_machine_cannot_fill_the_list(site, monkeypatch):
    monkeypatch.setattr("backup_platform.jobs.drills_by_hand.MOST_A_DAY", 3)
    machine, policy = machine_of(site), policy_of(site)
    snapshot = snapshot_of(machine, policy)
    for _ in range(3):
        note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    with pytest.raises(TooManyDrills):
        note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    assert len(drills()) == 3


def test_a_drill_that_the_platform_asked_for_is_not_touched(site):
    machine, policy = machine_of(site), policy_of(site)
    snapshot = snapshot_of(machine, policy)
    assert agent_jobs.request_drill(machine, snapshot.pk, by="ada") is not None
    note_drill(machine, uuid4(), snapshot.pk, "done", counts=SOUND)
    with without_tenant_scope("test"):
        assert set(Job.objects.values_list("origin", "state")) == {
            (JobOrigin.PERSON, JobState.QUEUED),
            (JobOrigin.MACHINE, JobState.DONE),
        }


def test_it_cannot_be_retried_from_a_page_which_says_where_it_can(site):
    machine, policy = machine_of(site), policy_of(site)
    note_drill(machine, uuid4(), snapshot_of(machine, policy).pk, "failed", counts={"damaged": 1})
    (made,) = drills()
    with pytest.raises(JobRefused, match="strongroom drill"):
        people.retry(made, "ada")


def test_its_page_says_that_it_was_by_hand(site):
    machine, policy = machine_of(site), policy_of(site)
    note_drill(machine, uuid4(), snapshot_of(machine, policy).pk, "done", counts=SOUND)
    (made,) = drills()
    page = sign_in(site, Role.VIEWER).get(reverse("admin:jobs_job_change", args=[made.pk]))
    assert page.status_code == 200
    assert f"by hand on {machine.name}" in page.content.decode()
