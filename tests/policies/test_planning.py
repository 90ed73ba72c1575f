"""Plans follow policies, assignments, groups, machines and pauses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backup_platform.fleet.models import GroupMembership, Machine, MachineState
from backup_platform.policies import planned
from backup_platform.policies.models import Assignment, Plan, Policy
from backup_platform.policies.planning import hindrance, replan
from backup_platform.policies.registry import complete
from backup_platform.policies.repairing import repair
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
DAILY = {"schedule.kind": "cron", "schedule.cron": "0 2 * * *", "schedule.zone": "utc", "schedule.jitter_minutes": 0}
SAVED = {"selection.sources": ["/home"]}
NEXT = datetime(2026, 5, 5, 2, tzinfo=UTC)


def plans(place) -> dict[str, Plan]:
    with tenant_scope(place.tenant):
        return {plan.machine.name: plan for plan in Plan.objects.select_related("machine", "shared").order_by("pk")}


def only_plan(place) -> Plan:
    (plan,) = plans(place).values()
    return plan


def change(row, **values) -> None:
    with without_tenant_scope("a test"):
        type(row).objects.filter(pk=row.pk).update(**values)


@pytest.fixture
def daily(ours):
    policy = ours.policy(**DAILY, **SAVED)
    ours.assign(policy)
    return policy


def test_each_machine_that_a_policy_applies_to_has_a_plan_with_what_counts_there(ours, daily):
    inside, outside, left_out = ours.machines(3)
    group = ours.group("Servers", inside)
    ours.assign(daily, group=group, **{"schedule.cron": "30 3 * * *"})
    ours.assign(daily, machine=left_out, excluded=True)
    assert replan(ours.tenant.pk, now=NOW) == 2
    found = plans(ours)
    assert set(found) == {inside.name, outside.name}
    assert found[outside.name].next_run_at == NEXT
    assert found[inside.name].next_run_at == NEXT + timedelta(minutes=90)
    assert found[inside.name].settings["selection.sources"] == ["/home"]
    assert found[inside.name].settings["limits.niceness"] == 10  # the registry's default


def test_plans_go_where_policies_no_longer_apply(ours, daily):
    machines = ours.machines(3)
    replan(ours.tenant.pk, now=NOW)
    with tenant_scope(ours.tenant):
        Assignment.objects.all().delete()
    ours.assign(daily, machine=machines[0])
    change(machines[1], state=MachineState.REVOKED)
    assert replan(ours.tenant.pk, now=NOW) == 1
    assert set(plans(ours)) == {machines[0].name}


def test_membership_of_a_group_decides(ours):
    policy, machine = ours.policy(**DAILY, **SAVED), ours.machine()
    group = ours.group("Servers")
    ours.assign(policy, group=group)
    assert replan(ours.tenant.pk, machines=[machine.pk], now=NOW) == 0
    with tenant_scope(ours.tenant):
        GroupMembership.objects.create(tenant=ours.tenant, group=group, machine=machine)
    assert replan(ours.tenant.pk, machines=[machine.pk], now=NOW) == 1
    with tenant_scope(ours.tenant):
        GroupMembership.objects.all().delete()
    assert replan(ours.tenant.pk, machines=[machine.pk], now=NOW) == 0
    assert plans(ours) == {}


def test_planning_for_one_machine_leaves_the_others_alone(ours, daily):
    first, second = ours.machines(2)
    replan(ours.tenant.pk, now=NOW)
    change(daily, settings={**DAILY, **SAVED, "schedule.cron": "0 5 * * *"})
    replan(ours.tenant.pk, policies=[daily.pk], machines=[first.pk], now=NOW)
    found = plans(ours)
    assert found[first.name].next_run_at == NEXT + timedelta(hours=3)
    assert found[second.name].next_run_at == NEXT


def test_another_tenants_plans_are_not_touched(ours, theirs, daily):
    other = theirs.policy(**DAILY, **SAVED)
    theirs.assign(other)
    theirs.machine()
    ours.machine()
    replan(theirs.tenant.pk, now=NOW)
    replan(ours.tenant.pk, policies=[other.pk], now=NOW)
    assert plans(ours) == {}
    assert len(plans(theirs)) == 1


@pytest.mark.parametrize("who", ["machine", "policy"])
def test_what_is_paused_is_never_due_and_goes_on_when_resumed(ours, daily, who):
    machine = ours.machine()
    row = machine if who == "machine" else daily
    change(row, paused_at=NOW)
    replan(ours.tenant.pk, now=NOW)
    plan = only_plan(ours)
    assert (plan.next_run_at, plan.fault) == (None, "")
    change(row, paused_at=None)
    replan(ours.tenant.pk, now=NOW)
    assert only_plan(ours).next_run_at == NEXT


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"selection.sources": []}, "name at least one source"),
        ({"schedule.cron": "0 25 * * *"}, "field hour"),
        ({"schedule.zone": "Europe/Berln"}, "no time zone"),
        ({"schedule.windows": [{"days": [], "from": "01:00", "until": "02:00"}]}, "never opens"),
        (
            {
                "schedule.windows": [{"days": [0, 1, 2, 3, 4], "from": "20:00", "until": "23:00"}],
                "schedule.catch_up": "skip",
            },
            "never come within ten years",
        ),
    ],
)
def test_what_hinders_a_plan_is_said_in_a_sentence(ours, settings, said):
    ours.assign(ours.policy(**{**DAILY, **SAVED, **settings}))
    ours.machines(2)
    replan(ours.tenant.pk, now=NOW)
    for plan in plans(ours).values():
        assert plan.next_run_at is None
        assert said in plan.fault
    assert said in hindrance(complete({**DAILY, **SAVED, **settings}), settings.get("schedule.zone", "UTC"), NOW)


def test_a_policy_without_a_timetable_has_plans_that_are_never_due(ours):
    ours.assign(ours.policy(**SAVED))
    ours.machine()
    replan(ours.tenant.pk, now=NOW)
    plan = only_plan(ours)
    assert (plan.next_run_at, plan.fault) == (None, "")


def test_a_run_that_is_due_already_is_not_forgotten_by_a_change(ours, daily):
    """The platform was down for two hours; before the first tick somebody changes the policy."""
    ours.machine()
    replan(ours.tenant.pk, now=NOW)
    change(daily, settings={**DAILY, **SAVED, "schedule.cron": "0 5 * * *"})
    replan(ours.tenant.pk, now=NEXT + timedelta(hours=2))
    assert only_plan(ours).next_run_at == NEXT


def test_a_clock_that_was_set_back_brings_no_due_time_again(ours, daily):
    ours.machine()
    replan(ours.tenant.pk, now=NOW)
    change(only_plan(ours), last_due_at=NEXT, next_run_at=NEXT + timedelta(days=1))
    replan(ours.tenant.pk, now=NEXT - timedelta(hours=1))
    assert only_plan(ours).next_run_at == NEXT + timedelta(days=1)


def test_a_clock_that_was_a_year_ahead_stops_nothing_for_a_year(ours, daily):
    ours.machine()
    replan(ours.tenant.pk, now=NOW)
    change(only_plan(ours), last_due_at=NEXT + timedelta(days=365), next_run_at=NEXT + timedelta(days=366))
    replan(ours.tenant.pk, now=NOW)
    assert only_plan(ours).next_run_at == NEXT


def test_machines_are_planned_in_their_own_zones(ours):
    ours.assign(ours.policy(**{**DAILY, **SAVED, "schedule.zone": "machine"}))
    berlin, nowhere, silent = (ours.machine(zone=zone).name for zone in ("Europe/Berlin", "Nowhere/Atall", ""))
    replan(ours.tenant.pk, now=NOW)
    found = plans(ours)
    assert found[berlin].next_run_at == NEXT - timedelta(hours=2)
    assert (found[nowhere].next_run_at, found[nowhere].zone) == (NEXT, "UTC")
    assert found[silent].next_run_at == NEXT


def test_a_machine_that_moves_to_another_zone_is_planned_again(ours):
    ours.assign(ours.policy(**{**DAILY, **SAVED, "schedule.zone": "machine"}))
    machine, nowhere = ours.machine(zone="Europe/Berlin"), ours.machine(zone="Nowhere/Atall")
    replan(ours.tenant.pk, now=NOW)
    change(machine, zone="America/New_York")
    assert repair(NOW) == 1
    assert plans(ours)[machine.name].next_run_at == NEXT + timedelta(hours=4)
    assert plans(ours)[nowhere.name].next_run_at == NEXT
    assert repair(NOW) == 0


def test_stale_plans_are_repaired_once_a_day_and_when_defaults_change(ours, daily, monkeypatch):
    ours.machines(2)
    replan(ours.tenant.pk, now=NOW)
    with without_tenant_scope("a test"):
        Policy.objects.update(settings={**DAILY, **SAVED, "schedule.cron": "0 5 * * *"})  # behind everybody's back
    assert repair(NOW + timedelta(hours=9)) == 0
    later = NOW + timedelta(hours=25)
    assert repair(later) == 2
    with without_tenant_scope("a test"):
        Plan.objects.update(next_run_at=None, computed_at=later)
    monkeypatch.setattr("backup_platform.policies.repairing.basis", lambda: "other defaults")
    assert repair(later) == 2
    assert all(plan.next_run_at for plan in plans(ours).values())


@pytest.mark.parametrize("who", ["machine", "policy"])
def test_pauses_that_nobody_told_of_are_found(ours, daily, who):
    row = ours.machine() if who == "machine" else daily
    if who == "policy":
        ours.machine()
    replan(ours.tenant.pk, now=NOW)
    change(row, paused_at=NOW)
    assert repair(NOW) == 1
    assert only_plan(ours).next_run_at is None
    assert repair(NOW) == 0
    change(row, paused_at=None)
    assert repair(NOW) == 1
    assert only_plan(ours).next_run_at == NEXT
    assert repair(NOW) == 0


def test_a_machine_that_enrols_or_leaves_unnoticed_is_found(ours, daily):
    machine = ours.machine()
    with without_tenant_scope("a test"):
        enrolled = Machine.objects.get().enrolled_at
    assert repair(enrolled) == 1
    assert repair(enrolled) == 0
    change(machine, state=MachineState.DECOMMISSIONED)
    repair(enrolled)
    assert plans(ours) == {}


def test_ten_times_the_machines_need_no_more_queries(ours, daily):
    ours.machines(10)
    with CaptureQueriesContext(
        connection,
    ) as few:
        replan(ours.tenant.pk, now=NOW)
    ours.machines(900)
    with CaptureQueriesContext(connection) as many:
        assert replan(ours.tenant.pk, now=NOW) == 910
    assert len(many) == len(few) <= 12


def test_the_fingerprint_of_the_defaults_fits_its_column():
    assert len(planned.basis()) <= 64
