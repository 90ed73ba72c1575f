"""Policies are made, changed, copied, deleted and assigned: checked, audited, raised in version, planned again."""

from __future__ import annotations

import pytest

from backup_platform.audit.models import Entry
from backup_platform.policies.assignments import assign, exclude, unassign
from backup_platform.policies.effective import application_of
from backup_platform.policies.errors import PolicyMissing, PolicyRefused
from backup_platform.policies.models import Assignment, Plan, Policy
from backup_platform.policies.services import change_policy, copy_policy, create_policy, delete_policy
from backup_platform.tenants.access import Actor
from backup_platform.tenants.errors import Forbidden, OutOfReach
from backup_platform.tenants.models import Role, User
from backup_platform.tenants.permissions import BUILT_IN
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

HOME = {"selection.sources": ["/home"]}
AFTER = "schedule.after_policy"


def lines(place, verb):
    with tenant_scope(place.tenant):
        return list(Entry.objects.filter(verb=verb).order_by("id"))


def made(place, name="Nightly", **settings):
    return create_policy(place.tenant, name, {**HOME, **settings}, by="tests")


def fresh(policy):
    with without_tenant_scope("test"):
        return Policy.objects.get(pk=policy.pk)


def actor(place, role, groups=None):
    user = User.objects.create_user(f"{role}-{place.tenant.name}")
    return Actor(user, place.tenant, role, BUILT_IN[role], groups)


def test_a_policy_is_made_clean_and_audited(ours):
    policy = made(ours, "  Every   night ", **{"schedule.zone": "UTC"})
    assert fresh(policy).name == "Every night"
    assert fresh(policy).settings == {"selection.sources": ["/home"], "schedule.zone": "utc"}
    (line,) = lines(ours, "policy.created")
    assert line.actor == "tests"
    assert line.object == f"policy:{policy.pk}"
    assert line.detail["settings"]["schedule.zone"] == "utc"


def test_a_change_raises_the_version_and_leaves_before_and_after(ours):
    policy = made(ours, **{"limits.niceness": 5})
    change_policy(policy, by="tests", settings={**HOME, "limits.niceness": 6, "schedule.attempts": 2})
    assert fresh(policy).version == 2
    (line,) = lines(ours, "policy.changed")
    assert line.detail["before"] == {"limits.niceness": 5}
    assert line.detail["after"] == {"limits.niceness": 6, "schedule.attempts": 2}


def test_a_change_that_changes_nothing_leaves_no_line(ours):
    policy = made(ours)
    change_policy(policy, by="tests", name="Nightly", settings=HOME)
    assert fresh(policy).version == 1
    assert lines(ours, "policy.changed") == []


def test_a_change_over_somebody_elses_is_refused(ours):
    policy = made(ours)
    change_policy(policy, by="first", name="Other")
    with pytest.raises(PolicyRefused, match="Somebody else"):
        change_policy(policy, by="second", name="Mine", seen_version=1)
    assert fresh(policy).name == "Other"


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\0b"])
def test_a_policy_needs_a_name(ours, name):
    with pytest.raises(PolicyRefused) as caught:
        made(ours, name)
    assert caught.value.faults[0].name == "name"


def test_two_policies_of_a_tenant_have_two_names(ours, theirs):
    made(ours)
    made(theirs)
    with pytest.raises(PolicyRefused, match="already a policy named"):
        made(ours)


def test_every_fault_is_told_at_its_setting(ours):
    with pytest.raises(PolicyRefused) as caught:
        made(ours, **{"limits.niceness": 99, "schedule.zone": "Mars/Base", "schedule.cron": "61 * * * *"})
    assert {fault.name for fault in caught.value.faults} == {"limits.niceness", "schedule.zone", "schedule.cron"}
    with tenant_scope(ours.tenant):
        assert not Policy.objects.exists()


def test_a_copy_has_the_settings_and_applies_to_nobody(ours):
    policy = made(ours, **{"limits.niceness": 5})
    assign(policy, by="tests")
    copy = copy_policy(policy, by="tests", name="Copy")
    with tenant_scope(ours.tenant):
        assert copy.settings == policy.settings
        assert not copy.assignments.exists()


def test_a_deleted_policy_takes_assignments_and_plans_along_and_leaves_its_settings_in_the_audit(ours):
    policy = made(ours)
    ours.machine()
    assign(policy, by="tests")
    delete_policy(policy, by="tests")
    with tenant_scope(ours.tenant):
        assert not Policy.objects.exists()
        assert not Assignment.objects.exists()
        assert not Plan.objects.exists()
    (line,) = lines(ours, "policy.deleted")
    assert line.detail["settings"] == HOME
    assert line.detail["assignments"] == 1
    with pytest.raises(PolicyMissing):
        change_policy(policy, by="tests", name="Ghost")


def test_a_policy_that_another_waits_for_is_not_deleted(ours):
    first = made(ours, "First")
    made(ours, "Second", **{AFTER: str(first.pk)})
    with pytest.raises(PolicyRefused, match="“Second” wait"):
        delete_policy(first, by="tests")


def test_a_circle_is_refused_with_its_policies_named(ours):
    first = made(ours, "First")
    second = made(ours, "Second", **{AFTER: str(first.pk)})
    third = made(ours, "Third", **{AFTER: str(second.pk)})
    with pytest.raises(PolicyRefused, match="“First” waits for “Third” waits for “Second” waits for “First”") as caught:
        change_policy(first, by="tests", settings={**HOME, AFTER: str(third.pk)})
    assert caught.value.faults[0].name == AFTER


def test_a_policy_does_not_wait_for_itself(ours):
    policy = made(ours)
    with pytest.raises(PolicyRefused, match="“Nightly” waits for “Nightly”"):
        change_policy(policy, by="tests", settings={**HOME, AFTER: str(policy.pk)})


def test_a_circle_through_an_override_is_refused(ours):
    first = made(ours, "First")
    second = made(ours, "Second", **{AFTER: str(first.pk)})
    with pytest.raises(PolicyRefused, match="for ever"):
        assign(first, by="tests", machine=ours.machine(), overrides={AFTER: str(second.pk)})
    with tenant_scope(ours.tenant):
        assert not Assignment.objects.exists()


def test_what_a_policy_waited_for_before_makes_no_circle(ours):
    first = made(ours, "First")
    second = made(ours, "Second", **{AFTER: str(first.pk)})
    change_policy(second, by="tests", settings=HOME)
    change_policy(first, by="tests", settings={**HOME, AFTER: str(second.pk)})


@pytest.mark.defence
def test_a_policy_does_not_wait_for_another_tenants(ours, theirs):
    with pytest.raises(PolicyRefused, match="no such policy"):
        made(ours, **{AFTER: str(made(theirs).pk)})


def test_assigning_is_audited_with_before_and_after_and_raises_the_version(ours):
    policy, machine = made(ours), ours.machine()
    group = ours.group("Servers", machine)
    assign(policy, by="tests", group=group, overrides={"limits.niceness": 5})
    assign(policy, by="tests", group=group, overrides={"limits.niceness": 6})
    assign(policy, by="tests", group=group)  # says nothing new
    first, second = lines(ours, "policy.assigned")
    assert first.detail["to"] == "group Servers"
    assert first.detail["before"] == {}
    assert first.detail["after"] == {"applies": True, "limits.niceness": 5}
    assert second.detail["before"] == {"limits.niceness": 5}
    assert second.detail["after"] == {"limits.niceness": 6}
    assert fresh(policy).version == 3


def test_excluding_and_taking_away(ours):
    policy, machine = made(ours), ours.machine()
    assign(policy, by="tests")
    exclude(policy, by="tests", machine=machine)
    with tenant_scope(ours.tenant):
        assert not application_of(policy, machine).applies
    assert unassign(policy, by="tests", machine=machine)
    assert not unassign(policy, by="tests", machine=machine)
    with tenant_scope(ours.tenant):
        assert application_of(policy, machine).applies
    (line,) = lines(ours, "policy.unassigned")
    assert line.detail["before"] == {"applies": False}


def test_an_assignment_is_to_one_place(ours):
    machine = ours.machine()
    with pytest.raises(PolicyRefused, match="not to both"):
        assign(made(ours), by="tests", machine=machine, group=ours.group("g", machine))


def test_faulty_overrides_are_refused(ours):
    with pytest.raises(PolicyRefused, match="out of bounds"):
        assign(made(ours), by="tests", overrides={"limits.niceness": 99})


@pytest.mark.defence
def test_no_policy_is_assigned_to_another_tenants_machine_or_group(ours, theirs):
    policy, machine = made(ours), theirs.machine()
    group = theirs.group("Theirs", machine)
    with pytest.raises(PolicyMissing):
        assign(policy, by="tests", machine=machine)
    with pytest.raises(PolicyMissing):
        assign(policy, by="tests", group=group)
    with without_tenant_scope("test"):
        assert not Assignment.objects.exists()


def test_plans_follow_assignments(ours):
    machine, _ = ours.machines(2)
    policy = made(ours, **{"schedule.kind": "interval", "schedule.every_minutes": 60})
    assign(policy, by="tests", machine=machine)
    with tenant_scope(ours.tenant):
        plan = Plan.objects.get()
        assert plan.machine == machine
        assert plan.next_run_at is not None
    change_policy(policy, by="tests", settings=HOME)
    with tenant_scope(ours.tenant):
        assert Plan.objects.get().next_run_at is None
    unassign(policy, by="tests", machine=machine)
    with tenant_scope(ours.tenant):
        assert not Plan.objects.exists()


@pytest.mark.parametrize("role", [Role.ADMIN, Role.OPERATOR])
def test_those_who_may_edit_do(ours, role):
    asker = actor(ours, role)
    policy = create_policy(ours.tenant, "Nightly", HOME, by=asker)
    assign(policy, by=asker)
    delete_policy(policy, by=asker)
    assert lines(ours, "policy.deleted")[0].actor == f"user {asker.user.username}"


@pytest.mark.parametrize("role", [Role.RESTORE_OPERATOR, Role.AUDITOR, Role.VIEWER])
def test_those_who_may_not_edit_are_refused(ours, role):
    asker, policy = actor(ours, role), made(ours)
    for act in (
        lambda: create_policy(ours.tenant, "Mine", HOME, by=asker),
        lambda: change_policy(policy, by=asker, name="Mine"),
        lambda: copy_policy(policy, by=asker, name="Mine"),
        lambda: delete_policy(policy, by=asker),
        lambda: assign(policy, by=asker),
        lambda: unassign(policy, by=asker),
    ):
        with pytest.raises(Forbidden):
            act()


@pytest.mark.defence
def test_another_tenants_policy_looks_like_a_missing_one(ours, theirs):
    asker, policy = actor(theirs, Role.ADMIN), made(ours)
    for act in (
        lambda: change_policy(policy, by=asker, name="Mine"),
        lambda: delete_policy(policy, by=asker),
        lambda: assign(policy, by=asker),
        lambda: create_policy(ours.tenant, "Mine", HOME, by=asker),
    ):
        with pytest.raises(OutOfReach):
            act()
    assert fresh(policy).name == "Nightly"


def test_members_limited_to_groups_edit_no_policies(ours):
    group = ours.group("Laptops", ours.machine())
    asker = actor(ours, Role.OPERATOR, frozenset({group.pk}))
    with pytest.raises(OutOfReach):
        create_policy(ours.tenant, "Mine", HOME, by=asker)


def test_the_platforms_own_role_may_do_all_this(ours, application_role):
    first, machine = made(ours, "First"), ours.machine()
    second = made(ours, "Second", **{AFTER: str(first.pk)})
    assign(second, by="tests", machine=machine, overrides={"limits.niceness": 1})
    unassign(second, by="tests", machine=machine)
    delete_policy(second, by="tests")
