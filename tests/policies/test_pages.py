"""The pages of policies, assignments and groups: every setting has a field, faults stand at it, rights hold."""

from __future__ import annotations

import re

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from backup_platform.audit.models import Entry
from backup_platform.fleet.models import MachineGroup
from backup_platform.jobs.models import Job
from backup_platform.policies.admin.fields import FIELD_NAMES
from backup_platform.policies.models import Assignment, Policy
from backup_platform.policies.planning import replan
from backup_platform.policies.registry import SETTINGS
from backup_platform.policies.templates import TEMPLATES
from backup_platform.tenants.models import Member, MemberGroup, Role, User
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope


def page(name, *args):
    return reverse(f"admin:{name}", args=args)


def signed_in(place, role=Role.ADMIN):
    with without_tenant_scope("test"):
        user = User.objects.create_user(f"{role}@{place.tenant.name}")
        Member.objects.create(user=user, tenant=place.tenant, role=role)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


@pytest.fixture
def ada(ours):
    return signed_in(ours)


@pytest.fixture
def boss(db):
    client = Client()
    user = User.objects.create_superuser("boss", password="x")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def filled(answer):
    """What a browser would send back if nothing was touched."""
    form = answer.context["adminform"].form
    data = {}
    for bound in form:
        value = bound.value()
        prepared = bound.field.prepare_value(value)
        if isinstance(prepared, bool):
            data |= {bound.html_name: "on"} if prepared else {}
        elif prepared is not None:
            data[bound.html_name] = prepared
    return data


def only(model, place):
    with tenant_scope(place.tenant):
        return model.objects.get()


def test_every_setting_has_a_field_with_its_help(ada):
    answer = ada.get(page("policies_policy_add"))
    shown = answer.content.decode()
    assert answer.status_code == 200
    for name, field in FIELD_NAMES.items():
        assert f'name="{field}"' in shown, name
        assert SETTINGS[name].label in shown


@pytest.mark.parametrize("key", TEMPLATES)
def test_a_policy_made_from_a_template_has_its_settings(ada, ours, key):
    answer = ada.get(page("policies_policy_add"), {"template": key})
    made = ada.post(page("policies_policy_add"), filled(answer))
    assert made.status_code == 302, made.context["errors"]
    policy = only(Policy, ours)
    assert policy.name == TEMPLATES[key].label
    assert policy.settings == TEMPLATES[key].settings


def test_saving_what_is_shown_changes_nothing(ada, ours):
    policy = ours.policy(**{
        "selection.sources": ["/home", "/srv"], "selection.max_file_size": 3 * 2**30, "schedule.kind": "cron",
        "schedule.windows": [{"days": [0, 1, 2], "from": "22:00", "until": "06:00"}],
        "schedule.blackouts": [{"from": "2026-12-24", "until": "2026-12-26"}],
        "limits.bandwidth": [{"days": [5, 6], "from": "00:00", "until": "24:00", "kbit_per_second": None}],
        "hooks.before": "dump", "limits.only_on_ac": True,
    })  # fmt: skip
    address = page("policies_policy_change", policy.pk)
    assert ada.post(address, filled(ada.get(address))).status_code == 302
    after = only(Policy, ours)
    assert after.settings == policy.settings
    assert after.version == policy.version


def test_faults_stand_at_their_fields_and_nothing_is_saved(ada, ours):
    data = filled(ada.get(page("policies_policy_add"), {"template": "server"}))
    data |= {"schedule__cron": "61 * * * *", "schedule__zone": "Europe/Berln", "selection__sources": "etc",
             "schedule__windows": "Mon 08:00-08:00", "limits__niceness": "99", "selection__max_file_size": "big",
             "stdin__hook": "dump"}  # fmt: skip
    answer = ada.post(page("policies_policy_add"), data)
    assert answer.status_code == 200
    errors = answer.context["adminform"].form.errors
    assert set(errors) == {"schedule__cron", "schedule__zone", "selection__sources", "schedule__windows",
                           "limits__niceness", "selection__max_file_size"}  # fmt: skip
    assert "Europe/Berlin" in errors["schedule__zone"][0]
    assert "never opens" in errors["schedule__windows"][0]
    with tenant_scope(ours.tenant):
        assert not Policy.objects.exists()


def test_faults_between_settings_stand_at_a_field_too(ada, ours):
    data = filled(ada.get(page("policies_policy_add"), {"template": "server"})) | {"stdin__hook": "dump"}
    errors = ada.post(page("policies_policy_add"), data).context["adminform"].form.errors
    assert set(errors) == {"stdin__name"}
    ours.policy("Server")
    del data["stdin__hook"]
    errors = ada.post(page("policies_policy_add"), data).context["adminform"].form.errors
    assert "already a policy named" in errors["name"][0]


def test_what_is_odd_is_said_after_saving(ada, ours):
    data = filled(ada.get(page("policies_policy_add"))) | {"name": "Empty"}
    answer = ada.post(page("policies_policy_add"), data)
    assert any("Nothing is saved yet" in str(message) for message in get_messages(answer.wsgi_request))


def test_a_change_over_somebody_elses_is_told(ada, ours):
    policy = ours.policy()
    address = page("policies_policy_change", policy.pk)
    data = filled(ada.get(address)) | {"name": "Mine"}
    with tenant_scope(ours.tenant):
        Policy.objects.update(version=7)
    answer = ada.post(address, data)
    assert "Somebody else" in answer.content.decode()
    assert only(Policy, ours).name == "Documents"


def test_a_policy_is_deleted_by_the_service(ada, ours):
    policy = ours.policy()
    ours.assign(policy)
    assert ada.post(page("policies_policy_delete", policy.pk), {"post": "yes"}).status_code == 302
    with tenant_scope(ours.tenant):
        assert not Policy.objects.exists()
        assert Entry.objects.filter(verb="policy.deleted").exists()


def test_a_policy_that_another_waits_for_says_so_instead_of_going(ada, ours):
    first = ours.policy("First")
    ours.policy("Second", **{"schedule.after_policy": str(first.pk)})
    answer = ada.post(page("policies_policy_delete", first.pk), {"post": "yes"}, follow=True)
    assert "“Second” wait for this policy" in answer.content.decode()


def test_copying_asks_first(ada, ours):
    policy = ours.policy(**{"limits.niceness": 3})
    address = page("policies_policy_copy_action", policy.pk)
    with tenant_scope(ours.tenant):
        assert ada.get(address, follow=True).status_code == 200
        assert Policy.objects.count() == 1
    assert ada.post(address, {"name": "Copy"}, follow=True).status_code == 200
    with tenant_scope(ours.tenant):
        assert Policy.objects.get(name="Copy").settings == policy.settings


def test_an_assignment_is_made_and_then_given_values_of_its_own(ada, ours):
    machine = ours.machine()
    policy = ours.policy(**{"limits.niceness": 3})
    group = ours.group("Servers", machine)
    made = ada.post(page("policies_assignment_add"), {"policy": policy.pk, "group": group.pk, "machine": ""})
    assert made.status_code == 302
    place = only(Assignment, ours)
    address = page("policies_assignment_change", place.pk)
    shown = ada.get(address)
    assert "3 (policy Documents)" in shown.content.decode()
    data = filled(shown) | {"limits__niceness": "7", "own__schedule__attempts": "on"}
    assert ada.post(address, data).status_code == 302
    assert only(Assignment, ours).overrides == {"limits.niceness": 7, "schedule.attempts": 5}
    data = filled(ada.get(address))
    del data["own__limits__niceness"]
    assert ada.post(address, data).status_code == 302
    assert only(Assignment, ours).overrides == {"schedule.attempts": 5}
    assert ada.post(page("policies_assignment_delete", place.pk), {"post": "yes"}).status_code == 302
    with tenant_scope(ours.tenant):
        assert not Assignment.objects.exists()
        assert Entry.objects.filter(verb="policy.unassigned").exists()


def test_a_second_assignment_to_the_same_place_is_refused(ada, ours):
    policy = ours.policy()
    ours.assign(policy)
    answer = ada.post(page("policies_assignment_add"), {"policy": policy.pk, "group": "", "machine": ""})
    assert "assigned there already" in answer.content.decode()


def test_no_page_assigns_or_shows_another_tenants_rows(ada, ours, theirs):
    policy, theirs_policy = ours.policy(), theirs.policy("Foreign plan")
    machine = theirs.machine()
    group = theirs.group("Foreign group", machine)
    for data in (
        {"policy": policy.pk, "group": group.pk, "machine": ""},
        {"policy": policy.pk, "group": "", "machine": machine.pk},
        {"policy": theirs_policy.pk, "group": "", "machine": ""},
    ):
        answer = ada.post(page("policies_assignment_add"), data)
        assert answer.status_code == 200
        assert "Foreign" not in answer.content.decode()
    with without_tenant_scope("test"):
        assert not Assignment.objects.exists()
    for address in (
        page("policies_policy_effective", theirs_policy.pk),
        page("policies_policy_on_machine", machine.pk),
    ):
        assert ada.get(address).status_code == 404
    shown = ada.get(page("policies_policy_effective", policy.pk), {"machine": str(machine.pk)})
    assert machine.name not in shown.content.decode()
    assert "Foreign" not in ada.get(page("policies_policy_add")).content.decode()
    ada.post(page("fleet_machinegroup_add"), {"name": "Mine", "rank": 1, "machines": [machine.pk]})
    with without_tenant_scope("test"):
        assert not MachineGroup.objects.filter(name="Mine", machines=machine).exists()


def test_the_effective_page_says_what_counts_and_why(ada, ours):
    machine = ours.machine()
    policy = ours.policy(**{"limits.niceness": 3})
    ours.assign(policy, group=ours.group("Servers", machine), **{"schedule.attempts": 2})
    shown = re.sub(r"\s+", " ", ada.get(page("policies_policy_effective", policy.pk)).content.decode())
    assert f"applies to {machine.name}</strong>, because it is assigned to the group Servers" in shown
    assert "<td>group Servers</td>" in shown
    assert "<td>policy Documents</td>" in shown
    on_machine = ada.get(page("policies_policy_on_machine", machine.pk)).content.decode()
    assert "Documents" in on_machine
    assert "group Servers" in on_machine


@pytest.mark.parametrize("role", [Role.VIEWER, Role.AUDITOR, Role.RESTORE_OPERATOR])
def test_those_who_may_only_look_see_values_and_no_form(ours, role):
    client, policy = signed_in(ours, role), ours.policy(**{"limits.niceness": 3})
    place = ours.assign(policy, **{"limits.niceness": 4})
    group = ours.group("Servers", ours.machine())
    shown = client.get(page("policies_policy_change", policy.pk))
    assert shown.status_code == 200
    assert 'name="limits__niceness"' not in shown.content.decode()
    assert "policy Documents" in shown.content.decode()
    assert client.get(page("policies_assignment_change", place.pk)).status_code == 200
    assert client.get(page("fleet_machinegroup_change", group.pk)).status_code == 200
    assert client.post(page("policies_policy_change", policy.pk), {"name": "Mine"}).status_code == 403
    assert client.get(page("policies_policy_add")).status_code == 403
    assert client.post(page("policies_policy_delete", policy.pk), {"post": "yes"}).status_code == 403
    assert client.get(page("policies_assignment_add")).status_code == 403
    copy = page("policies_policy_copy_action", policy.pk)
    assert client.post(copy, {"name": "Copy"}).status_code == 403


def test_a_member_limited_to_a_group_sees_no_other_groups_or_machines(ours):
    inside, outside = ours.machines(2)
    mine, other = ours.group("Mine", inside), ours.group("Hidden", outside)
    policy, foreign = ours.policy("Shared"), ours.policy("Elsewhere")
    for group in (mine, other):
        ours.assign(policy, group=group)
    ours.assign(policy, machine=outside)
    ours.assign(foreign, group=other)
    replan(ours.tenant.pk)
    client = signed_in(ours, Role.OPERATOR)
    with tenant_scope(ours.tenant):
        MemberGroup.objects.create(member=Member.objects.get(), group=mine)
    addresses = [
        page("policies_policy_changelist"),
        page("policies_policy_change", policy.pk),
        page("policies_policy_effective", policy.pk),
        page("policies_policy_on_machine", inside.pk),
    ]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200, address
        shown = answer.content.decode()
        assert "Shared" in shown
        for hidden in ("Hidden", "Elsewhere", outside.name):
            assert hidden not in shown, (address, hidden)
    assert client.get(page("policies_policy_on_machine", outside.pk)).status_code == 404
    assert client.get(page("policies_assignment_changelist")).status_code == 403
    assert client.post(page("policies_policy_change", policy.pk), {"name": "x"}).status_code == 403


def test_platform_staff_choose_the_tenant_of_a_new_policy_and_group(boss, ours, theirs):
    data = filled(boss.get(page("policies_policy_add"), {"template": "server"})) | {"tenant": str(ours.tenant.pk)}
    assert boss.post(page("policies_policy_add"), data).status_code == 302
    assert only(Policy, ours).name == "Server"
    group = {"tenant": str(theirs.tenant.pk), "name": "Theirs", "rank": "5", "description": ""}
    assert boss.post(page("fleet_machinegroup_add"), group).status_code == 302
    assert only(MachineGroup, theirs).rank == 5


def test_staff_without_a_tenant_cannot_join_two_tenants(boss, ours, theirs):
    policy, machine = ours.policy(), theirs.machine()
    answer = boss.post(page("policies_assignment_add"), {"policy": policy.pk, "machine": machine.pk, "group": ""})
    assert answer.status_code == 200
    assert "There is no such machine" in answer.content.decode()


def test_groups_are_made_filled_and_deleted_on_their_page(ada, ours):
    first, second = ours.machines(2)
    made = ada.post(page("fleet_machinegroup_add"), {"name": "Servers", "rank": "5", "machines": [first.pk]})
    assert made.status_code == 302
    group = only(MachineGroup, ours)
    address = page("fleet_machinegroup_change", group.pk)
    data = filled(ada.get(address)) | {"machines": [second.pk], "name": "Hosts"}
    assert ada.post(address, data).status_code == 302
    with tenant_scope(ours.tenant):
        group.refresh_from_db()
        assert group.name == "Hosts"
        assert [machine.pk for machine in group.machines.all()] == [second.pk]
    assert (
        "already a group" in ada.post(page("fleet_machinegroup_add"), {"name": "Hosts", "rank": "1"}).content.decode()
    )
    assert ada.post(page("fleet_machinegroup_delete", group.pk), {"post": "yes"}).status_code == 302
    with tenant_scope(ours.tenant):
        assert not MachineGroup.objects.exists()


def test_a_machines_page_leads_to_its_policies_and_sets_groups_and_tags(ada, ours):
    machine = ours.machine()
    group = ours.group("Servers")
    to_policies = ada.get(page("fleet_machine_policies", machine.pk))
    assert to_policies["Location"] == page("policies_policy_on_machine", machine.pk)
    address = page("fleet_machine_places", machine.pk)
    assert "Servers" in ada.get(address).content.decode()
    assert "is not a tag" in ada.post(address, {"groups": [group.pk], "tags": "web <b>"}).content.decode()
    assert ada.post(address, {"groups": [group.pk], "tags": "web db"}).status_code == 302
    with tenant_scope(ours.tenant):
        machine.refresh_from_db()
        assert machine.tags == ["db", "web"]
        assert list(machine.groups.all()) == [group]
    assert signed_in(ours, Role.VIEWER).post(address, {"tags": "mine"}).status_code == 403


def test_pausing_asks_first_and_is_audited(ada, ours):
    policy = ours.policy()
    address = page("policies_policy_pause_action", policy.pk)
    assert "Nothing of it becomes due" in ada.get(address).content.decode()
    assert only(Policy, ours).paused_at is None
    assert ada.post(address).status_code == 302
    assert only(Policy, ours).paused_at is not None
    assert "becomes due again" in ada.get(address).content.decode()
    ada.post(address)
    assert only(Policy, ours).paused_at is None
    with tenant_scope(ours.tenant):
        assert Entry.objects.filter(verb__in=["policy.paused", "policy.resumed"]).count() == 2


def test_a_run_is_started_on_the_machine_that_is_shown(ada, ours, theirs):
    machine, foreign = ours.machine(), theirs.machine()
    policy = ours.policy(**{"selection.sources": ["/home"]})
    address = page("policies_policy_effective", policy.pk)
    refused = ada.post(address, {"machine": str(machine.pk)}, follow=True)
    assert "does not apply" in refused.content.decode()
    ours.assign(policy)
    assert ada.post(address, {"machine": str(machine.pk)}).status_code == 302
    assert ada.post(address, {"machine": str(foreign.pk)}).status_code == 404
    assert signed_in(ours, Role.VIEWER).post(address, {"machine": str(machine.pk)}).status_code == 403
    with tenant_scope(ours.tenant):
        job = Job.objects.get()
        assert (job.policy_id, job.machine_id) == (policy.pk, machine.pk)


def test_lists_stay_cheap_with_many_rows(ada, ours, django_assert_max_num_queries):
    machines = ours.machines(60)
    for number in range(60):
        ours.assign(ours.policy(f"p{number:02}"), machine=machines[number])
        ours.group(f"g{number:02}", machines[number])
    for name in ("policies_policy_changelist", "policies_assignment_changelist", "fleet_machinegroup_changelist"):
        with django_assert_max_num_queries(16):
            assert ada.get(page(name)).status_code == 200


def test_the_form_opens_cheaply_with_a_thousand_machines(ada, ours, django_assert_max_num_queries):
    machines = ours.machines(1000)
    policy = ours.policy()
    ours.assign(policy, group=ours.group("All", *machines))
    for address in (page("policies_policy_change", policy.pk), page("policies_policy_effective", policy.pk)):
        with django_assert_max_num_queries(25):
            assert ada.get(address).status_code == 200
