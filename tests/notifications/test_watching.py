"""The rules: what is wrong because nothing happened, found within a minute, and resolved by itself."""

from __future__ import annotations

import os
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from backup_platform.catalog.models import Session, Snapshot, SnapshotState
from backup_platform.fleet.models import GatewayBeat, Machine
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.notifications import disks, watching
from backup_platform.notifications.about_jobs import job_ended
from backup_platform.notifications.models import Alert, WatchRules
from backup_platform.notifications.words import AlertKind
from backup_platform.policies.models import Plan, Policy
from backup_platform.tenants.scope import tenant_scope
from tests.notifications.conftest import make_machine

pytestmark = pytest.mark.django_db


def open_alerts(kind=None):
    found = Alert.objects.filter(resolved_at=None).order_by("text")
    return list(found.filter(kind=kind) if kind else found)


def hours(number):
    return timezone.now() - timedelta(hours=number)


def make_snapshot(machine, sequence, received_hours_ago, state=SnapshotState.VERIFIED) -> Snapshot:
    at = hours(received_hours_ago)
    session = Session.objects.create(
        tenant=machine.tenant, vault=machine.vault, machine=machine, generation=1, gateway="g", lease_until=at,
        state="committed",
    )  # fmt: skip
    return Snapshot.objects.create(
        id=uuid4(), tenant=machine.tenant, vault=machine.vault, machine=machine, session=session, sequence=sequence,
        statement=b"s", statement_digest=os.urandom(32), root_hash=os.urandom(32), root_bytes=1, recipients=b"",
        blocks=b"", machine_time=at, received_at=at, state=state,
        verified_at=at if state != SnapshotState.RECEIVED else None,
    )  # fmt: skip


def test_silence_is_judged_by_the_machines_class_and_ends_when_it_is_heard_of(tenant):
    server = make_machine(tenant, "server", seen_hours_ago=25, enrolled_hours_ago=999)
    make_machine(tenant, "laptop", seen_hours_ago=13 * 24, enrolled_hours_ago=999, tags=["laptop"])
    make_machine(tenant, "lost-laptop", seen_hours_ago=15 * 24, enrolled_hours_ago=999, tags=["laptop"])
    make_machine(tenant, "retired", seen_hours_ago=999, enrolled_hours_ago=999, state="decommissioned")
    watching.watch()
    assert [alert.text.split()[0] for alert in open_alerts(AlertKind.SILENT)] == ["lost-laptop", "server"]
    Machine.objects.filter(pk=server.pk).update(last_seen_at=timezone.now())
    watching.watch()
    assert [alert.text.split()[0] for alert in open_alerts(AlertKind.SILENT)] == ["lost-laptop"]


def test_a_tenant_sets_its_own_thresholds(tenant, other):
    for owner in (tenant, other):
        make_machine(owner, "server", seen_hours_ago=25, enrolled_hours_ago=25)
    WatchRules.objects.create(tenant=tenant, server_silent=48)
    watching.watch()
    assert [alert.tenant_id for alert in open_alerts(AlertKind.SILENT)] == [other.pk]


def test_a_machine_is_not_silent_while_its_gateway_is_at_work(tenant):
    """Its row is written at connect and disconnect only: the gateway's beat stands for it."""
    make_machine(tenant, "web", seen_hours_ago=100, enrolled_hours_ago=100, connected_to="gw", connected_at=hours(90))
    GatewayBeat.objects.create(name="gw", seen_at=timezone.now())
    watching.watch()
    assert not open_alerts(AlertKind.SILENT)
    GatewayBeat.objects.update(seen_at=hours(25))
    watching.watch()
    assert len(open_alerts(AlertKind.SILENT)) == 1


def test_nothing_good_for_too_long_is_an_alert_of_the_machine_and_of_the_tenant(tenant):
    web = make_machine(tenant, "web", enrolled_hours_ago=500)
    make_machine(tenant, "new", enrolled_hours_ago=1)
    make_snapshot(web, 1, 100)
    make_snapshot(web, 2, 3, SnapshotState.DAMAGED)
    make_snapshot(web, 3, 2, SnapshotState.RECEIVED)
    watching.watch()
    (stale,) = open_alerts(AlertKind.STALE)
    assert stale.text.startswith("No backup of web has been verified since")
    assert len(open_alerts(AlertKind.TENANT_STALE)) == 1
    make_snapshot(web, 4, 1)
    watching.watch()
    assert not open_alerts(AlertKind.STALE)
    assert not open_alerts(AlertKind.TENANT_STALE)


def test_a_forgotten_pause_does_not_hide_that_nothing_is_backed_up(tenant):
    make_machine(tenant, "web", enrolled_hours_ago=500, paused_at=hours(400))
    watching.watch()
    assert "It is paused since" in open_alerts(AlertKind.STALE)[0].text


def make_plan(machine, *, next_in_hours=1.0, name="Documents") -> Plan:
    policy, _ = Policy.objects.get_or_create(tenant=machine.tenant, name=name)
    return Plan.objects.create(tenant=machine.tenant, policy=policy, machine=machine, next_run_at=hours(-next_in_hours))


def make_job(plan, state, due_hours_ago, **more) -> Job:
    job = Job.objects.create(
        tenant=plan.tenant, kind=JobKind.BACKUP, subject=f"machine:{plan.machine_id}", dedupe_key=uuid4().hex,
        state=state, machine=plan.machine, policy=plan.policy, due_at=hours(due_hours_ago), **more,
    )  # fmt: skip
    Job.objects.filter(pk=job.pk).update(created_at=hours(due_hours_ago))
    return job


def test_overdue_counts_from_the_first_run_that_nothing_made_good(tenant):
    plan = make_plan(make_machine(tenant, "web"))
    make_job(plan, JobState.DONE, 50)
    watching.watch()
    assert not open_alerts(AlertKind.OVERDUE)
    for ago in (30, 20, 2):
        make_job(plan, JobState.FAILED, ago)
    watching.watch()
    (alert,) = open_alerts(AlertKind.OVERDUE)
    assert f"{hours(30):%H:%M}"[:2] in alert.text
    make_job(plan, JobState.WARNINGS, 1)
    watching.watch()
    assert not open_alerts(AlertKind.OVERDUE)


def test_overdue_when_nobody_turns_plans_into_jobs(tenant):
    make_plan(make_machine(tenant, "web"), next_in_hours=-7)
    watching.watch()
    assert len(open_alerts(AlertKind.OVERDUE)) == 1


@pytest.mark.parametrize("pause", ["machine", "policy"])
def test_what_is_paused_is_not_overdue(tenant, pause):
    plan = make_plan(make_machine(tenant, "web"), next_in_hours=-7)
    getattr(plan, pause).paused_at = timezone.now()
    getattr(plan, pause).save()
    watching.watch()
    assert not open_alerts(AlertKind.OVERDUE)


def test_damaged_snapshots_are_told_by_machine_until_none_is_left(tenant):
    web = make_machine(tenant, "web")
    snapshots = [make_snapshot(web, n, n, SnapshotState.DAMAGED) for n in (1, 2)]
    watching.watch()
    assert open_alerts(AlertKind.DAMAGED)[0].text == "2 snapshots of web cannot be restored completely."
    Snapshot.objects.filter(pk=snapshots[0].pk).update(state=SnapshotState.VERIFIED)
    watching.watch()
    assert open_alerts(AlertKind.DAMAGED)[0].text == "1 snapshot of web cannot be restored completely."
    Snapshot.objects.update(state=SnapshotState.VERIFIED)
    watching.watch()
    assert not open_alerts(AlertKind.DAMAGED)


def test_work_of_the_platform_that_failed_for_good_is_told(tenant):
    Job.objects.create(tenant=tenant, kind="verify", subject="pack:1", dedupe_key="x", state=JobState.FAILED,
                       finished_at=timezone.now())  # fmt: skip
    watching.watch()
    assert len(open_alerts(AlertKind.WORK_FAILED)) == 1


def test_a_disk_that_is_nearly_full_is_the_platforms_own_alert(db, everywhere, monkeypatch, strongroom_home):
    monkeypatch.setattr(disks, "NEARLY", 0.0)
    watching.watch_when_due()
    (alert,) = open_alerts(AlertKind.DISK)
    assert alert.tenant_id is None
    monkeypatch.setattr(disks, "NEARLY", 2.0)
    monkeypatch.setattr(watching, "EVERY", timedelta(0))
    watching.watch_when_due()
    assert not open_alerts(AlertKind.DISK)


def test_the_rules_are_watched_once_a_minute_however_often_the_tick_comes(tenant, monkeypatch):
    swept = []
    monkeypatch.setattr(watching, "watch", lambda: swept.append(1))
    for _ in range(5):
        watching.watch_when_due()
    assert len(swept) == 1


def test_a_rule_with_a_defect_does_not_hide_the_others(tenant, monkeypatch):
    make_machine(tenant, "web", enrolled_hours_ago=500, seen_hours_ago=500)
    monkeypatch.setitem(watching.RULES, AlertKind.SILENT, (lambda: 1 / 0, ""))
    watching.watch()
    assert len(open_alerts(AlertKind.STALE)) == 1


def test_a_thousand_machines_cost_a_bounded_number_of_queries(tenant, django_assert_max_num_queries):
    first = make_machine(tenant, "m0", enrolled_hours_ago=500, seen_hours_ago=500)
    Machine.objects.bulk_create(
        Machine(tenant=tenant, vault=first.vault, name=f"m{n}", identity_hash=os.urandom(32), identity_key=b"k",
                reading_key=b"r", certificate=b"c", certificate_until=timezone.now(), last_seen_at=hours(500))
        for n in range(1, 1000)
    )  # fmt: skip
    Machine.objects.update(enrolled_at=hours(500))
    with django_assert_max_num_queries(60):
        watching.watch()
    assert len(open_alerts(AlertKind.SILENT)) == len(open_alerts(AlertKind.STALE)) == 1000
    with django_assert_max_num_queries(60):
        watching.watch()
    assert set(Alert.objects.values_list("count", flat=True)) == {1}


def ended(plan, state, **more):
    job = Job.objects.select_related("machine", "policy").get(pk=make_job(plan, state, 1, **more).pk)
    with tenant_scope(plan.tenant_id):
        job_ended(job)


@pytest.mark.parametrize(
    ("state", "kind"), [("failed", "failed"), ("missed", "missed"), ("warnings", "warnings")]
)  # fmt: skip
def test_a_bad_end_of_a_job_is_told_until_the_same_work_ends_well(tenant, state, kind):
    plan = make_plan(make_machine(tenant, "web"))
    elsewhere = make_plan(make_machine(tenant, "mail"))
    ended(plan, state, last_error="The source /data is gone.", advice="Mount it.")
    (alert,) = open_alerts()
    assert (alert.kind, alert.machine_id, alert.advice) == (kind, plan.machine_id, "Mount it.")
    assert "Backup Documents of web" in alert.text
    ended(elsewhere, "done")
    ended(plan, "cancelled")
    assert len(open_alerts()) == 1
    ended(plan, "done")
    assert not open_alerts()


def test_a_run_with_warnings_ends_the_failure_and_is_told_itself(tenant):
    plan = make_plan(make_machine(tenant, "web"))
    ended(plan, "failed")
    ended(plan, "warnings")
    assert [alert.kind for alert in open_alerts()] == ["warnings"]


def test_what_was_wrong_with_a_machine_ends_when_it_is_retired(tenant):
    plan = make_plan(make_machine(tenant, "web", enrolled_hours_ago=500, seen_hours_ago=500))
    ended(plan, "failed")
    watching.watch()
    assert {alert.kind for alert in open_alerts()} == {"failed", "silent", "stale", "tenant_stale"}
    Machine.objects.update(state="decommissioned")
    watching.watch()
    assert not open_alerts()
