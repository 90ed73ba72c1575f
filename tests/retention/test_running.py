"""Expiry as jobs: asked for when a policy changes, done as a worker does it, its records written."""

from __future__ import annotations

import pytest
from django.utils import timezone

from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.running import run_job
from backup_platform.policies.services import change_policy
from backup_platform.retention import running
from backup_platform.retention.models import LifecycleEntry, Term
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from workers import tasks

WORK = {
    "strongroom.expire_tenant": running.expire_of_tenant,
    "strongroom.expire_machine": running.expire_of_machine,
    "strongroom.write_lifecycle": running.write_records,
}


def work_off():
    """Do what is on the list as a worker would; what it was about."""
    done = []
    while True:
        with without_tenant_scope("test"):
            job = Job.objects.filter(state=JobState.QUEUED, next_attempt_at__lte=timezone.now()).first()
        if job is None:
            return done
        assert run_job(job.pk, WORK[route_of(job.kind, job.subject).task])
        done.append(job.subject.partition(":")[0])


@pytest.fixture
def policy(ours, machine):
    policy = ours.policy()
    ours.assign(policy)
    return policy


def test_a_changed_policy_is_followed_within_seconds(ours, machine, policy, django_capture_on_commit_callbacks):
    made = ours.snapshots(machine, 4, policy)
    ours.put_received(*made)
    with tenant_scope(ours.tenant), django_capture_on_commit_callbacks(execute=True):
        change_policy(policy, by="test", settings={"retention.keep_last": 2})
    assert work_off() == ["tenant"]
    with tenant_scope(ours.tenant):
        assert Term.objects.get(policy=policy).pending == {"retention.keep_last": 2}
        Term.objects.update(takes_effect_at=timezone.now())
    running.tick()
    assert sorted(work_off()) == ["records", "tenant"]
    assert ours.states(made) == ["verified"] * 2 + ["expired"] * 2
    with tenant_scope(ours.tenant):
        assert set(LifecycleEntry.objects.values_list("number", flat=True)) == {2}
        assert {job.progress["expired"] for job in Job.objects.filter(subject__startswith="tenant")} == {0, 2}


def test_a_policy_that_says_nothing_of_retention_wakes_nobody(ours, policy, django_capture_on_commit_callbacks):
    with tenant_scope(ours.tenant), django_capture_on_commit_callbacks(execute=True):
        change_policy(policy, by="test", settings={"selection.sources": ["/home"]})
    assert work_off() == []


def test_an_interrupted_run_goes_on_where_it_was(ours, machine, monkeypatch):
    machines = [machine, *ours.machines(2, zone="UTC")]
    policy = ours.policy(**{"retention.keep_last": 1})
    ours.assign(policy)
    for one in machines:
        ours.in_force(policy, one, **{"retention.keep_last": 1})
        ours.snapshots(one, 2, policy)
    looked = []
    expire = running.expire_machine
    monkeypatch.setattr(running, "expire_machine", lambda one, now: (looked.append(one.pk), expire(one, now))[1])
    monkeypatch.setattr(running, "TURN_SECONDS", 0.0)
    with tenant_scope(ours.tenant):
        running.ask_tenant(ours.tenant.pk)
    for _ in machines:
        with without_tenant_scope("test"):
            Job.objects.filter(state=JobState.QUEUED).exclude(subject__startswith="records").update(
                next_attempt_at=timezone.now()
            )
            job = Job.objects.get(subject__startswith="tenant")
        run_job(job.pk, running.expire_of_tenant)
    assert looked == sorted(one.pk for one in machines)


def test_workers_know_the_tasks():
    known = {tasks.expire_tenant.name, tasks.expire_machine.name, tasks.write_lifecycle.name}
    assert known == set(WORK)
    assert tasks.expire.name == "strongroom.expire"
