"""What machines are told: all policies that apply, every setting with its origin, within one message."""

from __future__ import annotations

import json

from backup_platform.policies.configuration import MAX_CHARACTERS, configuration_for, spec_of
from backup_platform.policies.models import Policy
from backup_platform.policies.registry import SETTINGS
from backup_platform.tenants.scope import tenant_scope


def told(machine):
    return json.loads(configuration_for(machine))


def test_a_machine_is_told_every_setting_of_the_policies_that_apply(ours):
    machine, other = ours.machines(2)
    policy = ours.policy(**{"selection.sources": ["/home"]})
    ours.assign(policy, machine=machine, **{"limits.niceness": 3})
    ours.policy("Unassigned")
    entry, *rest = told(machine)["policies"]
    assert not rest
    assert entry["id"] == str(policy.pk)
    assert entry["name"] == "Documents"
    assert set(entry["settings"]) == set(entry["origins"]) == set(SETTINGS)
    assert entry["settings"]["limits.niceness"] == 3
    assert entry["origins"]["limits.niceness"] == "machine"
    assert entry["origins"]["selection.sources"] == "policy Documents"
    assert told(machine)["tenant"] == "ours"
    assert told(machine)["machine"] == machine.name
    assert told(other)["policies"] == []


def test_the_version_changes_exactly_with_the_content(ours):
    machine = ours.machine()
    ours.assign(ours.policy())
    first = told(machine)["version"]
    assert told(machine)["version"] == first
    with tenant_scope(ours.tenant):
        Policy.objects.update(settings={"limits.niceness": 1})
    assert told(machine)["version"] != first


def test_a_configuration_always_fits_and_names_what_it_left_out(ours):
    machine = ours.machine()
    for number in range(8):
        lines = [f"{'ü' * 55}{number}{line}" for line in range(600)]
        ours.assign(ours.policy(f"Policy {number}", **{"selection.exclude": lines}))
    text = configuration_for(machine)
    found = json.loads(text)
    assert len(text) <= MAX_CHARACTERS
    assert found["policies"]
    assert found["left_out"] == [f"Policy {number}" for number in range(len(found["policies"]), 8)]


def test_a_tenants_configuration_names_nothing_of_another(ours, theirs):
    machine = ours.machine()
    theirs.assign(theirs.policy("Theirs"))
    assert told(machine)["policies"] == []


def test_the_specification_of_a_job_is_complete(ours):
    machine = ours.machine()
    policy = ours.policy(**{"selection.sources": ["/srv"]})
    ours.assign(policy, machine=machine, **{"schedule.attempts": 2})
    with tenant_scope(ours.tenant):
        spec = spec_of(policy, machine)
    assert spec["policy"] == "Documents"
    assert spec["policy_id"] == str(policy.pk)
    assert spec["settings"]["selection.sources"] == ["/srv"]
    assert spec["settings"]["schedule.attempts"] == 2
    assert set(spec["settings"]) == set(SETTINGS)


def test_a_configuration_costs_a_few_queries(ours, django_assert_max_num_queries):
    machine = ours.machine()
    for number in range(30):
        ours.assign(ours.policy(f"p{number}"))
    with django_assert_max_num_queries(4):
        assert len(told(machine)["policies"]) == 30
