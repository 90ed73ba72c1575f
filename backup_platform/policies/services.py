"""What happens to policies: they are made, changed, copied and deleted. To whom they apply: assignments.py.

`by` is the person who asks (their right `policies.edit` is checked here), or the name of a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope

from .errors import Fault, PolicyMissing, PolicyRefused
from .following import check_following, waiting_for
from .models import Policy
from .registry import check_settings

EDIT = "policies.edit"
MAX_POLICIES = 500
"""In one tenant: a machine's configuration names all that apply to it, and people choose from lists."""


def create_policy(
    tenant: Tenant, name: str, settings: Mapping[str, Any], *, by: Asker, description: str = ""
) -> Policy:
    """Make a policy that applies to nobody yet. Raises `PolicyRefused`."""
    actor = allowed(by, EDIT, tenant)
    policy = Policy(tenant=tenant, name=clean_name(name), description=description.strip()[:500])
    policy.settings = clean_settings(settings)
    with tenant_scope(tenant), transaction.atomic():
        if Policy.objects.count() >= MAX_POLICIES:
            raise PolicyRefused(f"There are {MAX_POLICIES} policies already; delete one that is not used.")
        check_following(policy, policy.settings)
        _save(policy, force_insert=True)
        _note("policy.created", policy, actor, name=policy.name, settings=policy.settings)
    return policy


def change_policy(
    policy: Policy,
    *,
    by: Asker,
    name: str | None = None,
    description: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seen_version: int | None = None,
) -> Policy:
    """Change what is given, and raise the version if anything is different. Raises `PolicyRefused`, also when
    somebody changed it after `seen_version`, and `PolicyMissing`."""
    actor = allowed(by, EDIT, policy)
    with tenant_scope(policy.tenant_id), transaction.atomic():
        row = lock(policy)
        if seen_version is not None and row.version != seen_version:
            raise PolicyRefused("Somebody else changed this policy meanwhile; load the page again, then change it.")
        before = _facts(row)
        row.name = row.name if name is None else clean_name(name)
        row.description = row.description if description is None else description.strip()[:500]
        if settings is not None:
            row.settings = clean_settings(settings)
            check_following(row, row.settings)
        after = _facts(row)
        if after != before:
            row.version += 1
            _save(row)
            _note("policy.changed", row, actor, version=row.version, **differences(before, after))
            replan(row)
    return row


def copy_policy(policy: Policy, *, by: Asker, name: str) -> Policy:
    """Make another policy with the same settings, that applies to nobody yet. Raises `PolicyRefused`."""
    with tenant_scope(policy.tenant_id):
        return create_policy(policy.tenant, name, policy.settings, by=by, description=policy.description)


def delete_policy(policy: Policy, *, by: Asker) -> None:
    """Delete a policy, its assignments and plans, and cancel its backups that wait for their machines.

    Snapshots stay, and what runs goes on. Refused while another policy waits for it.
    """
    from backup_platform.jobs.withdrawing import withdraw_of_policy  # late: jobs know policies

    actor = allowed(by, EDIT, policy)
    with tenant_scope(policy.tenant_id), transaction.atomic():
        row = lock(policy)
        waiting = [name for name in waiting_for(row) if name != row.name]
        if waiting:
            names = ", ".join(f"“{name}”" for name in waiting[:5])
            raise PolicyRefused(f"{names} wait for this policy; change their setting “After” first.")
        counts = row.assignments.count()
        row.plans.all().delete()  # from here on no tick asks for it
        withdrawn = withdraw_of_policy(row, actor)
        detail = {"name": row.name, "settings": row.settings, "assignments": counts, "withdrawn": withdrawn}
        _note("policy.deleted", row, actor, **detail)
        row.delete()


def lock(policy: Policy) -> Policy:
    """The policy's row, locked until the transaction ends. Raises `PolicyMissing`."""
    row: Policy | None = Policy.objects.select_for_update(no_key=True).filter(pk=policy.pk).first()
    if row is None:
        raise PolicyMissing("There is no such policy any more.")
    return row


def clean_name(name: str) -> str:
    """A name that can be shown in one line. Raises `PolicyRefused`."""
    kept = " ".join(name.split())
    if not kept or len(kept) > 100 or not kept.isprintable():
        sentence = "A policy needs a name of 1 to 100 characters."
        raise PolicyRefused(sentence, [Fault("name", sentence)])
    return kept


def clean_settings(settings: Any, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings as they are kept. Raises `PolicyRefused` with every fault."""
    checked = check_settings(settings, base=base)
    if checked.faults:
        raise PolicyRefused(" ".join(fault.sentence for fault in checked.faults[:3]), checked.faults)
    return checked.values


def replan(policy: Policy, *, machines: list[Any] | None = None) -> None:
    """Let the plans follow a change, in the transaction that makes it."""
    from .planning import replan as plan_again  # late: planning reads what this module writes

    plan_again(policy.tenant_id, policies=[policy.pk], machines=machines)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """For the audit: what was and what is, of what is different. A setting that is not set is left out."""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return {
        "before": {name: before[name] for name in changed if name in before},
        "after": {name: after[name] for name in changed if name in after},
    }


def _facts(policy: Policy) -> dict[str, Any]:
    return {"name": policy.name, "description": policy.description, **policy.settings}


def _save(policy: Policy, **options: Any) -> None:
    try:
        with transaction.atomic():
            policy.save(**options)
    except IntegrityError as fault:
        if "one_policy_name_per_tenant" not in str(fault):
            raise
        sentence = f"There is already a policy named “{policy.name}”; choose another name."
        raise PolicyRefused(sentence, [Fault("name", sentence)]) from None


def _note(verb: str, policy: Policy, actor: str, **detail: Any) -> None:
    record_audit(verb, actor=actor, object=f"policy:{policy.pk}", tenant=policy.tenant_id, **detail)
