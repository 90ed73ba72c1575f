"""To whom policies apply: the whole tenant, groups, machines; with settings of their own, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import F

from backup_platform.audit.services import record as record_audit
from backup_platform.fleet.models import Machine, MachineGroup
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.scope import tenant_scope

from .errors import PolicyMissing, PolicyRefused
from .following import check_following
from .models import Assignment, Policy
from .registry import complete
from .services import EDIT, clean_settings, differences, lock, replan


def assign(
    policy: Policy,
    *,
    by: Asker,
    group: MachineGroup | None = None,
    machine: Machine | None = None,
    overrides: Mapping[str, Any] | None = None,
    excluded: bool = False,
) -> Assignment:
    """Let a policy apply to the tenant (neither group nor machine), a group or a machine, or change how it does.

    `overrides` take the place of those that stood there; None leaves them. `excluded`: the policy does not apply
    here, whatever farther assignments say. Raises `PolicyRefused`, `PolicyMissing` (also for what is another
    tenant's).
    """
    actor = allowed(by, EDIT, policy)
    with tenant_scope(policy.tenant_id), transaction.atomic():
        row = lock(policy)
        standing = _standing(row, group, machine)
        place = standing or Assignment(tenant_id=row.tenant_id, policy=row, group=group, machine=machine)
        before = _facts(standing) if standing else {}
        if overrides is not None:
            place.overrides = clean_settings(overrides, base=complete(row.settings))
            check_following(row, place.overrides)
        place.excluded = excluded
        after = _facts(place)
        if before != after:
            place.save()
            _note("policy.assigned", row, place, actor, **differences(before, after))
            _changed(row, place)
    return place


def unassign(policy: Policy, *, by: Asker, group: MachineGroup | None = None, machine: Machine | None = None) -> bool:
    """Take an assignment away; what is assigned farther away counts again. False if there was none."""
    actor = allowed(by, EDIT, policy)
    with tenant_scope(policy.tenant_id), transaction.atomic():
        row = lock(policy)
        place = _standing(row, group, machine)
        if place is None:
            return False
        _note("policy.unassigned", row, place, actor, **differences(_facts(place), {}))
        place.delete()
        _changed(row, place)
    return True


def exclude(policy: Policy, *, by: Asker, group: MachineGroup | None = None, machine: Machine | None = None) -> None:
    """Say that a policy does not apply to a group or a machine, whatever farther assignments say."""
    assign(policy, by=by, group=group, machine=machine, excluded=True)


def _standing(policy: Policy, group: MachineGroup | None, machine: Machine | None) -> Assignment | None:
    """The assignment that stands at this place; the place itself must be the tenant's."""
    if group is not None and machine is not None:
        raise PolicyRefused("An assignment is to a group or to a machine, not to both.")
    if group is not None and not MachineGroup.objects.filter(pk=group.pk).exists():
        raise PolicyMissing("There is no such group.")
    if machine is not None and not Machine.objects.filter(pk=machine.pk).exists():
        raise PolicyMissing("There is no such machine.")
    found: Assignment | None = Assignment.objects.filter(policy=policy, group=group, machine=machine).first()
    return found


def _facts(place: Assignment) -> dict[str, Any]:
    """What the place says: whether the policy applies, and every override."""
    return {"applies": not place.excluded, **place.overrides}


def _changed(policy: Policy, place: Assignment) -> None:
    Policy.objects.filter(pk=policy.pk).update(version=F("version") + 1)
    replan(policy, machines=[place.machine_id] if place.machine_id else None)


def _note(verb: str, policy: Policy, place: Assignment, actor: str, **detail: Any) -> None:
    to = f"machine {place.machine.name}" if place.machine else f"group {place.group.name}" if place.group else "tenant"
    record_audit(verb, actor=actor, object=f"policy:{policy.pk}", tenant=policy.tenant_id, name=policy.name, to=to,
                 **detail)  # fmt: skip
