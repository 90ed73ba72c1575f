"""The calendar of drills, what makes a snapshot proven, and the pages' button."""

from __future__ import annotations

import os
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.fleet.models import Machine
from backup_platform.jobs import agent_jobs, due_drills
from backup_platform.jobs.due_drills import plan_drills
from backup_platform.jobs.models import Job, JobKind
from backup_platform.notifications.drill_rule import unproven
from backup_platform.policies.assignments import assign
from backup_platform.policies.planning import replan
from backup_platform.policies.services import create_policy
from backup_platform.tenants.models import Member, Role, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.jobs.machines import Site, job, later, start, state

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


@pytest.fixture
def site() -> Site:
    return Site("north")


def machine_of(site: Site, **fields) -> Machine:
    (machine,) = site.add_machines(1)
    with without_tenant_scope("test"):
        Machine.objects.filter(pk=machine.pk).update(**fields)
        machine.refresh_from_db()
    return machine


def policy_of(site: Site, **settings):
    """A policy of the whole tenant with these settings (`every_days` is drill.every_days)."""
    with tenant_scope(site.tenant.pk):
        flat = {f"drill.{name}": value for name, value in settings.items()}
        policy = create_policy(site.tenant, f"policy {uuid4().hex[:6]}", flat, by="tests")
        assign(policy, by="tests")
    return policy


def snapshot_of(machine: Machine, policy, *, days_ago: float = 10, sequence: int = 1, **fields) -> Snapshot:
    at = timezone.now() - timedelta(days=days_ago)
    values = {"state": SnapshotState.VERIFIED, "verified_at": at, **fields}
    with without_tenant_scope("test"):
        return Snapshot.objects.create(
            id=uuid4(), tenant=machine.tenant, vault=machine.vault, machine=machine, policy=policy, sequence=sequence,
            statement=b"s", statement_digest=os.urandom(32), root_hash=os.urandom(32), root_bytes=1, recipients=b"",
            blocks=b"", machine_time=at, received_at=at, **values,
        )  # fmt: skip


def drills() -> list[Job]:
    with without_tenant_scope("test"):
        return list(Job.objects.filter(kind=JobKind.DRILL).order_by("created_at"))


def proven(snapshot: Snapshot):
    with without_tenant_scope("test"):
        return Snapshot.objects.get(pk=snapshot.pk).proven_at


def report(machine: Machine, outcome: str = "done", **counts) -> UUID:
    offered = start(machine)
    assert agent_jobs.report(offered.job_id, offered.lease, outcome, snapshot=uuid4(), counts=counts)
    return offered.job_id


def test_newest_good_snapshot_without_any_proof_is_drilled(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30, sample_files=7, sample_mib=3)
    snapshot_of(machine, policy, days_ago=20, sequence=1)
    newest = snapshot_of(machine, policy, days_ago=1, sequence=2)
    snapshot_of(machine, policy, days_ago=0, sequence=3, state=SnapshotState.RECEIVED, verified_at=None)
    assert plan_drills() == 1
    (made,) = drills()
    assert (made.machine_id, made.snapshot, made.origin) == (machine.pk, newest.pk, "schedule")
    assert made.spec["snapshot"] == newest.pk.hex
    assert (made.spec["files"], made.spec["mib"]) == (7, 3)
    assert all(name.startswith("limits.") for name in made.spec["settings"])
    assert made.policy_id is None, "what follows a backup must not follow a drill"
    assert plan_drills() == 0, "it is on the list"


@pytest.mark.parametrize(
    ("settings", "fields", "snapshot"),
    [
        ({"every_days": 0}, {}, {}),
        ({"every_days": 30}, {"write_only": True}, {}),
        ({"every_days": 30}, {"paused_at": timezone.now()}, {}),
        ({"every_days": 30}, {"state": "revoked"}, {}),
        ({"every_days": 30}, {}, {"days_ago": 0.5}),
        ({"every_days": 30}, {}, {"state": SnapshotState.DAMAGED}),
        ({"every_days": 30}, {}, {"proven_at": timezone.now() - 29 * DAY}),
    ],
)
def test_nothing_is_asked_where_it_is_not_wanted_possible_or_due(site, settings, fields, snapshot):
    machine, policy = machine_of(site), policy_of(site, **settings)
    with without_tenant_scope("test"):
        Machine.objects.filter(pk=machine.pk).update(**fields)
    snapshot_of(machine, policy, **{"days_ago": 60, **snapshot})
    assert plan_drills() == 0


def test_proof_that_is_too_old_is_renewed(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    snapshot_of(machine, policy, days_ago=90, proven_at=timezone.now() - 31 * DAY)
    assert plan_drills() == 1


def test_drill_without_a_fault_proves_the_snapshot_that_was_asked_for(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    snapshot = snapshot_of(machine, policy)
    plan_drills()
    job_id = report(machine, files=5, bytes=9, faults=0)
    assert state(job_id) == "done"
    assert proven(snapshot) is not None
    assert job(job_id).snapshot == snapshot.pk, "not what the machine named"
    assert plan_drills() == 0


def test_changed_file_on_the_machine_is_a_warning_and_no_fault(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    snapshot = snapshot_of(machine, policy)
    plan_drills()
    assert state(report(machine, "warnings", files=5, faults=0, differ=1)) == "warnings"
    assert proven(snapshot) is not None


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [("failed", {"faults": 0}), ("done", {"faults": 1}), ("done", {}), ("done", {"faults": 0, "damaged": 1})],
)
def test_only_a_report_without_faults_proves_anything(site, outcome, counts):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    snapshot = snapshot_of(machine, policy)
    plan_drills()
    report(machine, outcome, **counts)
    assert proven(snapshot) is None


def test_drill_that_failed_comes_again_a_day_later(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    snapshot_of(machine, policy)
    plan_drills()
    report(machine, "failed", faults=1)
    assert plan_drills() == 0
    with without_tenant_scope("test"):
        Job.objects.update(created_at=timezone.now() - timedelta(hours=21))
    assert plan_drills() == 1


def test_first_drills_of_a_new_fleet_are_spread_over_a_week(site):
    policy = policy_of(site, every_days=30)
    machines = site.add_machines(40)
    with tenant_scope(site.tenant.pk):
        replan(site.tenant.pk)
    for machine in machines:
        snapshot_of(machine, policy, days_ago=4)
    assert 0 < plan_drills() < 40
    plan_drills(timezone.now() + 8 * DAY)
    assert len(drills()) == 40


def test_waiting_drill_of_a_snapshot_that_has_expired_is_taken_back(site):
    machine, policy = machine_of(site), policy_of(site, every_days=30)
    old = snapshot_of(machine, policy)
    plan_drills()
    with without_tenant_scope("test"):
        Snapshot.objects.filter(pk=old.pk).update(state=SnapshotState.EXPIRED)
        Job.objects.update(created_at=timezone.now() - 2 * DAY)
    new = snapshot_of(machine, policy, days_ago=1, sequence=2)
    assert plan_drills() == 1
    first, second = drills()
    assert (first.state, second.state, second.snapshot) == ("cancelled", "queued", new.pk)


def test_one_tick_asks_for_a_bounded_number(site, monkeypatch):
    monkeypatch.setattr(due_drills, "MOST_AT_ONCE", 2)
    policy = policy_of(site, every_days=30)
    for machine in site.add_machines(3):
        snapshot_of(machine, policy, days_ago=60)
    with tenant_scope(site.tenant.pk):
        replan(site.tenant.pk)
    assert [plan_drills(), plan_drills()] == [2, 1]


def test_no_success_for_too_long_is_an_alert_of_its_own(site):
    machine, policy = machine_of(site), policy_of(site, every_days=10)
    snapshot = snapshot_of(machine, policy, days_ago=26)
    assert list(unproven()) == []
    with without_tenant_scope("test"):
        Snapshot.objects.update(verified_at=timezone.now() - 28 * DAY)
        (found,) = unproven()
        assert found.machine_id == machine.pk
        assert "No drill" in found.text
        assert machine.name in found.text
        Snapshot.objects.filter(pk=snapshot.pk).update(proven_at=timezone.now() - 26 * DAY)
        assert list(unproven()) == []
        Snapshot.objects.filter(pk=snapshot.pk).update(proven_at=timezone.now() - 28 * DAY)
        assert len(list(unproven())) == 1
        Machine.objects.update(write_only=True)
        assert list(unproven()) == []


def sign_in(site: Site, role: str) -> Client:
    user = User.objects.create_user(f"{role}-{site.name}")
    with tenant_scope(site.tenant):
        Member.objects.create(user=user, tenant=site.tenant, role=role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.mark.parametrize("where", ["fleet_machine", "catalog_snapshot"])
def test_drill_now_asks_first_and_is_audited(site, where):
    machine = machine_of(site)
    snapshot = snapshot_of(machine, None)
    address = reverse(f"admin:{where}_drill", args=[machine.pk if where == "fleet_machine" else snapshot.pk])
    operator = sign_in(site, Role.OPERATOR)
    assert b"random sample" in operator.get(address).content
    assert drills() == []
    assert operator.post(address).status_code == 302
    (made,) = drills()
    assert (made.snapshot, made.origin) == (snapshot.pk, "person")
    with tenant_scope(site.tenant):
        assert Entry.objects.filter(verb="drill.requested").count() == 1
    assert sign_in(site, Role.VIEWER).post(address).status_code == 403
    assert len(drills()) == 1


def test_drill_now_of_a_write_only_machine_says_what_to_do_instead(site):
    machine = machine_of(site, write_only=True)
    snapshot_of(machine, None)
    client = sign_in(site, Role.ADMIN)
    address = reverse("admin:fleet_machine_drill", args=[machine.pk])
    assert b"cannot drill" in client.get(address).content
    assert b"--kit DIR" in client.post(address, follow=True).content
    assert drills() == []


def test_failed_drill_can_be_tried_again_with_the_newest_snapshot(site):
    machine = machine_of(site)
    snapshot_of(machine, None, days_ago=3, sequence=1)
    agent_jobs.drill_now(machine, "tests")
    job_id = report(machine, "failed", faults=2)
    newest = snapshot_of(machine, None, days_ago=1, sequence=2)
    later(60)
    again = agent_jobs.retry(job(job_id), by="tests")
    assert job(again).snapshot == newest.pk
