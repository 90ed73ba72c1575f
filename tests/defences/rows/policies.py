"""Policies and groups: whose they are, and what they can never hold."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

EFFECTIVE = "tests/policies/test_effective.py"
SERVICES = "tests/policies/test_services.py"
REGISTRY = "tests/policies/test_registry.py"
GROUPS = "tests/fleet/test_groups.py"
POLICIES = "backup_platform.policies"
ASKING = "backup_platform.tenants.asking:allowed"

ROWS = (
    defence(
        "policy-and-machine-of-one-tenant",
        "law 5",
        "A policy is never joined with a machine of another tenant.",
        Edit(f"{POLICIES}.effective:application_of", "policy.tenant_id != machine.tenant_id", "False"),
        f"{EFFECTIVE}::test_no_tenants_policy_is_joined_with_anothers_machine",
    ),
    defence(
        "policy-follows-its-own-tenants",
        "law 5",
        "A policy cannot wait for another tenant's.",
        Edit(f"{POLICIES}.following:check_following", "UUID(wanted) not in names", "False"),
        f"{SERVICES}::test_a_policy_does_not_wait_for_another_tenants",
    ),
    defence(
        "policy-assigned-inside-its-tenant",
        "law 5",
        "A policy is assigned only to machines and groups of its own tenant.",
        Edit(
            f"{POLICIES}.assignments:_standing",
            "machine is not None and not Machine.objects.filter(pk=machine.pk).exists()",
            "False",
        ),
        f"{SERVICES}::test_no_policy_is_assigned_to_another_tenants_machine_or_group",
    ),
    defence(
        "services-ask-for-reach",
        "law 5",
        "A service that a person calls treats another tenant's rows as missing.",
        Edit(ASKING, "check(asker, permission, obj)", "check(asker, permission)"),
        f"{SERVICES}::test_another_tenants_policy_looks_like_a_missing_one",
        f"{GROUPS}::test_only_those_who_manage_machines_touch_groups",
    ),
    defence(
        "hooks-are-names",
        "law 8",
        "A policy can hold the name of a hook and never a command.",
        Edit(f"{POLICIES}.checks:hook_name", "not NAME.fullmatch(name)", "False"),
        f"{REGISTRY}::test_a_hook_is_a_name_and_never_a_command",
    ),
)
