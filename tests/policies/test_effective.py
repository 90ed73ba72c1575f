"""The nearest assignment wins, and every value says whence it came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_platform.policies.effective import (
    Effective,
    Layer,
    application_of,
    effective,
    effective_in_bulk,
    effective_many,
    resolve,
)
from backup_platform.policies.registry import SETTINGS, check_settings
from backup_platform.policies.templates import TEMPLATES
from backup_platform.tenants.scope import ScopeError, tenant_scope

NICE = "limits.niceness"
SOME = ["limits.niceness", "schedule.attempts", "schedule.priority", "hooks.before"]
VALUES = st.integers(1, 9) | st.none()


def layers():
    overrides = st.dictionaries(st.sampled_from(SOME), VALUES)
    return st.lists(st.tuples(st.booleans(), overrides), max_size=5).map(
        lambda rows: [Layer(f"layer {number}", out, values) for number, (out, values) in enumerate(rows)]
    )


def naive(name, own, nearest_first):
    """Look at one setting, from near to far, and stop at the first that speaks of it."""
    for layer in nearest_first:
        if not layer.excluded and name in layer.overrides:
            return Effective(layer.overrides[name], layer.origin)
    if name in own:
        return Effective(own[name], "policy P")
    return Effective(SETTINGS[name].default, "default")


@given(st.dictionaries(st.sampled_from(SOME), VALUES), layers())
def test_the_nearest_value_counts_with_its_origin(own, nearest_first):
    found = resolve("P", own, nearest_first)
    assert found.settings == {name: naive(name, own, nearest_first) for name in SETTINGS}
    assert found.applies == bool(nearest_first and not nearest_first[0].excluded)


def test_each_level_is_nearer_than_the_one_above(ours):
    machine, other, third = ours.machines(3)
    group = ours.group("Servers", machine, other)
    policy = ours.policy(**{NICE: 1, "schedule.attempts": 2})
    ours.assign(policy, **{NICE: 3, "schedule.priority": 4})
    ours.assign(policy, group=group, **{NICE: 5})
    ours.assign(policy, machine=machine, **{NICE: 7})
    with tenant_scope(ours.tenant):
        assert effective(policy, machine)[NICE] == Effective(7, "machine")
        assert effective(policy, other)[NICE] == Effective(5, "group Servers")
        assert effective(policy, third)[NICE] == Effective(3, "tenant")
        assert effective(policy, machine)["schedule.attempts"] == Effective(2, "policy Documents")
        assert effective(policy, machine)["schedule.priority"] == Effective(4, "tenant")
        assert effective(policy, machine)["limits.io_class"] == Effective("normal", "default")


def test_of_two_groups_the_lower_rank_and_then_the_name_counts(ours):
    machine = ours.machine()
    policy = ours.policy()
    for name, rank, value in (("b", 5, 1), ("a", 5, 2), ("c", 4, 3)):
        ours.assign(policy, group=ours.group(name, machine, rank=rank), **{NICE: value})
    with tenant_scope(ours.tenant):
        assert effective(policy, machine)[NICE] == Effective(3, "group c")
        policy.assignments.filter(group__name="c").delete()
        assert effective(policy, machine)[NICE] == Effective(2, "group a")


def test_the_nearest_assignment_says_whether_a_policy_applies(ours):
    excluded, back, plain, alone = ours.machines(4)
    group = ours.group("Laptops", excluded, back)
    policy = ours.policy()
    with tenant_scope(ours.tenant):
        assert not application_of(policy, alone).applies
        ours.assign(policy)
        assert application_of(policy, alone).because == "tenant"
        ours.assign(policy, group=group, excluded=True, **{NICE: 1})
        ours.assign(policy, machine=back)
        assert not application_of(policy, excluded).applies
        assert application_of(policy, excluded).because == "group Laptops"
        assert application_of(policy, back).applies
        assert effective(policy, back)[NICE].origin == "default"
        assert application_of(policy, plain).applies


def test_a_setting_that_is_not_known_any_more_says_nothing(ours):
    machine = ours.machine()
    policy = ours.policy(**{"gone.setting": 1})
    with tenant_scope(ours.tenant):
        assert set(effective(policy, machine)) == set(SETTINGS)


def test_many_agree_with_one(ours):
    boxes = ours.machines(6)
    one, two = ours.group("one", *boxes[:3]), ours.group("two", *boxes[2:5], rank=1)
    first, second = ours.policy("First"), ours.policy("Second")
    ours.assign(first, group=one, **{NICE: 1})
    ours.assign(first, group=two, excluded=True)
    ours.assign(first, machine=boxes[2], **{NICE: 2})
    ours.assign(second, **{NICE: 3})
    with tenant_scope(ours.tenant):
        many = effective_many([first, second], boxes)
        for policy in (first, second):
            for box in boxes:
                alone = application_of(policy, box)
                assert many.get((policy.pk, box.pk)) == (alone.settings if alone.applies else None)
        bulk = {
            (one.policy.pk, one.machine.pk): one.settings for one in effective_in_bulk(ours.tenant.pk) if one.applies
        }
        assert bulk == many


def test_bulk_is_about_active_machines_unless_others_are_named(ours):
    ours.machine()
    gone = ours.machine(state="revoked")
    ours.assign(ours.policy())
    with tenant_scope(ours.tenant):
        assert len(list(effective_in_bulk(ours.tenant.pk))) == 1
        assert [one.machine for one in effective_in_bulk(ours.tenant.pk, machines=[gone.pk])] == [gone]


def test_a_thousand_machines_cost_four_queries(ours, django_assert_max_num_queries):
    boxes = ours.machines(1000)
    groups = [ours.group(f"g{number}", *boxes[number::10]) for number in range(10)]
    for number in range(10):
        policy = ours.policy(f"p{number}")
        ours.assign(policy, group=groups[number], **{NICE: number})
        ours.assign(policy, machine=boxes[number])
        ours.assign(policy)
    with tenant_scope(ours.tenant), django_assert_max_num_queries(4):
        assert sum(one.applies for one in effective_in_bulk(ours.tenant.pk)) == 10_000


@pytest.mark.defence
def test_no_tenants_policy_is_joined_with_anothers_machine(ours, theirs):
    policy, machine = ours.policy(), theirs.machine()
    ours.assign(policy)
    with tenant_scope(ours.tenant):
        with pytest.raises(ScopeError):
            application_of(policy, machine)
        with pytest.raises(ScopeError):
            effective_many([policy], [machine])
        assert list(effective_in_bulk(ours.tenant.pk, machines=[machine.pk])) == []
        assert list(effective_in_bulk(theirs.tenant.pk, policies=[policy.pk])) == []


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_every_template_is_good_and_raises_no_doubt(template):
    checked = check_settings(template.settings)
    assert not checked.faults
    assert not checked.warnings
    assert checked.values == template.settings
    assert template.description.endswith(".")


def test_a_template_is_copied():
    TEMPLATES["server"].settings["selection.sources"].append("/x")
    assert "/x" not in TEMPLATES["server"].settings["selection.sources"]
