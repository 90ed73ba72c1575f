"""Groups are made, renamed, filled and deleted; machines get tags; all audited, all inside one tenant."""

from __future__ import annotations

import pytest

from backup_platform.audit.models import Entry
from backup_platform.fleet.groups import (
    GroupRefused,
    add_machines,
    change_group,
    delete_group,
    make_group,
    remove_machines,
    set_machines,
)
from backup_platform.fleet.models import GroupMembership, Machine, MachineGroup
from backup_platform.fleet.places import set_groups, set_tags
from backup_platform.policies.models import Plan
from backup_platform.tenants.access import Actor
from backup_platform.tenants.errors import Forbidden, OutOfReach
from backup_platform.tenants.models import Member, MemberGroup, Role, User
from backup_platform.tenants.permissions import BUILT_IN
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.policies.conftest import make_place


@pytest.fixture
def ours(db):
    return make_place("ours")


@pytest.fixture
def theirs(db):
    return make_place("theirs")


def lines(place, verb):
    with tenant_scope(place.tenant):
        return [line.detail for line in Entry.objects.filter(verb=verb).order_by("id")]


def members(group):
    with without_tenant_scope("test"):
        return set(GroupMembership.objects.filter(group=group).values_list("machine_id", flat=True))


def test_a_group_is_made_changed_and_deleted_with_a_line_each(ours):
    group = make_group(ours.tenant, " File   servers ", by="tests", rank=5)
    assert group.name == "File servers"
    change_group(group, by="tests", name="Servers", rank=7)
    change_group(group, by="tests", name="Servers")
    delete_group(group, by="tests")
    assert lines(ours, "group.created") == [{"name": "File servers", "rank": 5}]
    (changed,) = lines(ours, "group.changed")
    assert changed["before"]["name"] == "File servers"
    assert changed["after"] == {"name": "Servers", "description": "", "rank": 7}
    assert lines(ours, "group.deleted")[0]["before"]["name"] == "Servers"
    with tenant_scope(ours.tenant):
        assert not MachineGroup.objects.exists()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\tb\x07"])
def test_a_group_needs_a_name(ours, name):
    with pytest.raises(GroupRefused, match="1 to 100"):
        make_group(ours.tenant, name, by="tests")


def test_names_are_taken_once_in_a_tenant(ours, theirs):
    make_group(ours.tenant, "Servers", by="tests")
    make_group(theirs.tenant, "Servers", by="tests")
    with pytest.raises(GroupRefused, match="already a group named"):
        make_group(ours.tenant, "Servers", by="tests")


def test_machines_come_and_go(ours):
    machines = ours.machines(3)
    group = make_group(ours.tenant, "Servers", by="tests")
    assert add_machines(group, machines[:2], by="tests") == 2
    assert add_machines(group, machines, by="tests") == 1
    assert remove_machines(group, machines[:1], by="tests") == 1
    assert remove_machines(group, machines[:1], by="tests") == 0
    assert set_machines(group, machines[:2], by="tests") == (1, 1)
    assert members(group) == {machine.pk for machine in machines[:2]}
    assert [line["count"] for line in lines(ours, "group.machines_added")] == [2, 1, 1]
    assert lines(ours, "group.machines_removed")[0]["machines"] == [machines[0].name]


def test_another_tenants_machines_are_as_if_they_did_not_exist(ours, theirs):
    group = make_group(ours.tenant, "Servers", by="tests")
    assert add_machines(group, [theirs.machine(), ours.machine()], by="tests") == 1
    with without_tenant_scope("test"):
        assert set(Machine.objects.filter(groups=group).values_list("tenant__name", flat=True)) == {"ours"}


def test_a_thousand_machines_cost_a_few_queries(ours, django_assert_max_num_queries):
    machines = ours.machines(1000)
    group = make_group(ours.tenant, "All", by="tests")
    with django_assert_max_num_queries(25):
        assert add_machines(group, machines, by="tests") == 1000
    assert len(lines(ours, "group.machines_added")[0]["machines"]) == 50


def test_plans_follow_membership(ours):
    from backup_platform.policies.assignments import assign

    machine = ours.machine()
    group = make_group(ours.tenant, "Servers", by="tests")
    assign(ours.policy(**{"schedule.kind": "interval"}), by="tests", group=group)
    add_machines(group, [machine], by="tests")
    with tenant_scope(ours.tenant):
        assert Plan.objects.get().machine == machine
    remove_machines(group, [machine], by="tests")
    with tenant_scope(ours.tenant):
        assert not Plan.objects.exists()


def test_deleting_a_group_says_which_policies_it_ends_and_keeps_its_machines(ours):
    machine = ours.machine()
    group = ours.group("Servers", machine)
    ours.assign(ours.policy("Nightly"), group=group)
    delete_group(group, by="tests")
    assert lines(ours, "group.deleted")[0]["policies"] == ["Nightly"]
    with tenant_scope(ours.tenant):
        assert Machine.objects.filter(pk=machine.pk).exists()


def test_a_group_that_limits_somebodys_rights_is_not_deleted(ours):
    group = ours.group("Servers", ours.machine())
    with tenant_scope(ours.tenant):
        member = Member.objects.create(user=User.objects.create_user("ada"), tenant=ours.tenant)
        MemberGroup.objects.create(member=member, group=group)
    with pytest.raises(GroupRefused, match="limited to the group"):
        delete_group(group, by="tests")


def test_a_machine_is_put_into_exactly_the_groups_that_are_named(ours):
    machine = ours.machine()
    first, second, third = (ours.group(name) for name in ("a", "b", "c"))
    assert set_groups(machine, [first, second], by="tests") == (2, 0)
    assert set_groups(machine, [second, third], by="tests") == (1, 1)
    assert [members(group) for group in (first, second, third)] == [set(), {machine.pk}, {machine.pk}]


def test_tags_are_kept_in_one_form_and_audited(ours):
    machine = ours.machine()
    assert set_tags(machine, ["Web", " db-1 ", "web", ""], by="tests") == ["db-1", "web"]
    set_tags(machine, ["web", "db-1"], by="tests")
    (line,) = lines(ours, "machine.tagged")
    assert line["before"] == []
    assert line["after"] == ["db-1", "web"]


@pytest.mark.parametrize("tags", [["two words"], ["x" * 41], ["<b>"], [f"t{n}" for n in range(31)]])
def test_what_is_no_tag_is_refused(ours, tags):
    with pytest.raises(GroupRefused):
        set_tags(ours.machine(), tags, by="tests")


@pytest.mark.defence
def test_only_those_who_manage_machines_touch_groups(ours, theirs):
    group = ours.group("Servers")
    viewer = Actor(User.objects.create_user("v"), ours.tenant, Role.VIEWER, BUILT_IN[Role.VIEWER])
    foreign = Actor(User.objects.create_user("f"), theirs.tenant, Role.ADMIN, BUILT_IN[Role.ADMIN])
    for asker, fault in ((viewer, Forbidden), (foreign, OutOfReach)):
        for act in (
            lambda by: make_group(ours.tenant, "Mine", by=by),
            lambda by: change_group(group, by=by, name="Mine"),
            lambda by: add_machines(group, [], by=by),
            lambda by: remove_machines(group, [], by=by),
            lambda by: set_tags(ours.machine(), ["mine"], by=by),
            lambda by: delete_group(group, by=by),
        ):
            with pytest.raises(fault):
                act(asker)
