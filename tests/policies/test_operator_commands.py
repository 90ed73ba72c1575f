"""The operator's commands that make groups and policies: all of it is made, or nothing, and faults are sentences."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from backup_platform.fleet.models import GroupMembership
from backup_platform.policies.models import Plan, Policy
from backup_platform.tenants.scope import tenant_scope

pytestmark = pytest.mark.django_db


def make_policy(ours, name, *arguments):
    call_command("create_policy", name, "--tenant", ours.tenant.name, *arguments)


def test_a_policy_on_a_group_is_planned_for_its_machines(ours):
    machine = ours.machine()
    call_command("create_group", "Servers", "--tenant", ours.tenant.name, "--machine", machine.name)
    call_command("create_group", "Servers", "--tenant", ours.tenant.name, "--machine", machine.name)
    make_policy(
        ours, "Night", "--group", "Servers", '--set=selection.sources=["/srv"]', '--set=schedule.kind="cron"',
        '--set=schedule.cron="30 1 * * *"',
    )  # fmt: skip
    with tenant_scope(ours.tenant):
        assert GroupMembership.objects.count() == 1
        plan = Plan.objects.get()
        assert (plan.machine_id, plan.settings["selection.sources"]) == (machine.pk, ["/srv"])
        assert plan.next_run_at is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--group", "Nobody"], "There is no group named 'Nobody'; nothing was made"),
        (["--machine", "nobody"], "There is no machine named 'nobody'; nothing was made"),
        (["--set=schedule.cron=daily"], "The value of schedule.cron is not JSON: 'daily'"),
        (["--set=sources"], "'sources' is no setting: write NAME=VALUE"),
        (['--set=schedule.cron="61 * * * *"', '--set=schedule.kind="cron"'], "schedule.cron: "),
    ],
)
def test_a_fault_is_a_sentence_and_nothing_is_made(ours, arguments, sentence):
    with pytest.raises(CommandError) as refused:
        make_policy(ours, "Night", *arguments)
    assert sentence in str(refused.value)
    with tenant_scope(ours.tenant):
        assert not Policy.objects.exists()


def test_a_template_is_a_beginning(ours):
    make_policy(ours, "Homes", "--template", "documents", "--everywhere", '--set=schedule.cron="0 9 * * *"')
    with tenant_scope(ours.tenant):
        settings = Policy.objects.get().settings
        assert (settings["selection.sources"], settings["schedule.cron"]) == (["/home"], "0 9 * * *")


def test_an_unknown_machine_makes_no_group(ours):
    with pytest.raises(CommandError, match="has no machine named 'ghost'; nothing was changed"):
        call_command("create_group", "Servers", "--tenant", ours.tenant.name, "--machine", "ghost")
    with tenant_scope(ours.tenant):
        assert not ours.tenant.machine_groups.exists()
