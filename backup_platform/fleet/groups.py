"""Groups of machines.

`by` is the person who asks (their right `machines.manage` is checked here), or the name of a command.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope

from .models import GroupMembership, Machine, MachineGroup

MANAGE = "machines.manage"
MAX_GROUPS = 1000


class GroupRefused(ValueError):
    """A group or a tag cannot be made so; the text says why. `field` names what is wrong, if it is one thing."""

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


def make_group(tenant: Tenant, name: str, *, by: Asker, description: str = "", rank: int = 100) -> MachineGroup:
    """Make an empty group. Raises `GroupRefused`."""
    actor = allowed(by, MANAGE, tenant)
    group = MachineGroup(tenant=tenant, name=_clean_name(name), description=description.strip()[:500], rank=rank)
    with tenant_scope(tenant), transaction.atomic():
        if MachineGroup.objects.count() >= MAX_GROUPS:
            raise GroupRefused(f"There are {MAX_GROUPS} groups already; delete one that is not used.")
        _save(group, force_insert=True)
        _note("group.created", group, actor, name=group.name, rank=rank)
    return group


def change_group(
    group: MachineGroup,
    *,
    by: Asker,
    name: str | None = None,
    description: str | None = None,
    rank: int | None = None,
) -> MachineGroup:
    """Rename a group, describe it, or give it another rank. Raises `GroupRefused`."""
    actor = allowed(by, MANAGE, group)
    with tenant_scope(group.tenant_id), transaction.atomic():
        row = _lock(group)
        before = _facts(row)
        row.name = row.name if name is None else _clean_name(name)
        row.description = row.description if description is None else description.strip()[:500]
        row.rank = row.rank if rank is None else rank
        after = _facts(row)
        if after != before:
            _save(row)
            _note("group.changed", row, actor, before=before, after=after)
            # Rank and name say which of two groups is nearer.
            _replan(row.tenant_id, list(row.memberships.values_list("machine_id", flat=True)))
    return row


def delete_group(group: MachineGroup, *, by: Asker) -> None:
    """Delete a group. Its machines stay; what was assigned to it applies to them no more. Raises `GroupRefused`."""
    actor = allowed(by, MANAGE, group)
    with tenant_scope(group.tenant_id), transaction.atomic():
        row = _lock(group)
        machines = list(row.memberships.values_list("machine_id", flat=True))
        policies = sorted(row.assignments.values_list("policy__name", flat=True))
        _note("group.deleted", row, actor, before=_facts(row), machines=len(machines), policies=policies)
        try:
            row.delete()
        except ProtectedError:
            raise GroupRefused(
                f"Members' rights are limited to the group “{row.name}”; change those members first."
            ) from None
        _replan(group.tenant_id, machines)


def add_machines(group: MachineGroup, machines: Iterable[Machine | UUID], *, by: Asker) -> int:
    """Put machines into a group; how many were not in it. Those of other tenants are as if they did not exist."""
    actor = allowed(by, MANAGE, group)
    with tenant_scope(group.tenant_id), transaction.atomic():
        row = _lock(group)
        present = set(row.memberships.values_list("machine_id", flat=True))
        wanted = Machine.objects.filter(pk__in=set(_ids(machines)) - present)
        found = list(wanted.order_by("name").values_list("pk", "name"))
        GroupMembership.objects.bulk_create(
            [GroupMembership(tenant_id=row.tenant_id, group=row, machine_id=pk) for pk, _ in found], batch_size=1000
        )
        _moved("group.machines_added", row, actor, found)
    return len(found)


def remove_machines(group: MachineGroup, machines: Iterable[Machine | UUID], *, by: Asker) -> int:
    """Take machines out of a group; how many were in it."""
    actor = allowed(by, MANAGE, group)
    with tenant_scope(group.tenant_id), transaction.atomic():
        row = _lock(group)
        members = row.memberships.filter(machine_id__in=_ids(machines))
        found = list(members.order_by("machine__name").values_list("machine_id", "machine__name"))
        members.delete()
        _moved("group.machines_removed", row, actor, found)
    return len(found)


def set_machines(group: MachineGroup, machines: Iterable[Machine | UUID], *, by: Asker) -> tuple[int, int]:
    """Let a group hold exactly these machines; how many were added and removed."""
    wanted = set(_ids(machines))
    with tenant_scope(group.tenant_id), transaction.atomic():
        present = set(_lock(group).memberships.values_list("machine_id", flat=True))
        return add_machines(group, wanted - present, by=by), remove_machines(group, present - wanted, by=by)


def _clean_name(name: str) -> str:
    kept = " ".join(name.split())
    if not kept or len(kept) > 100 or not kept.isprintable():
        raise GroupRefused("A group needs a name of 1 to 100 characters.", "name")
    return kept


def _lock(group: MachineGroup) -> MachineGroup:
    row: MachineGroup | None = MachineGroup.objects.select_for_update(no_key=True).filter(pk=group.pk).first()
    if row is None:
        raise GroupRefused("There is no such group any more.")
    return row


def _ids(machines: Iterable[Machine | UUID]) -> list[UUID]:
    return [machine if isinstance(machine, UUID) else machine.pk for machine in machines]


def _facts(group: MachineGroup) -> dict[str, Any]:
    return {"name": group.name, "description": group.description, "rank": group.rank}


def _moved(verb: str, group: MachineGroup, actor: str, found: list[tuple[UUID, str]]) -> None:
    if found:
        # The line stays short where a thousand move; the count is whole.
        _note(verb, group, actor, name=group.name, count=len(found), machines=[name for _, name in found[:50]])
        _replan(group.tenant_id, [pk for pk, _ in found])


def _save(group: MachineGroup, **options: Any) -> None:
    try:
        with transaction.atomic():
            group.save(**options)
    except IntegrityError as fault:
        if "one_group_name_per_tenant" not in str(fault):
            raise
        raise GroupRefused(f"There is already a group named “{group.name}”; choose another name.", "name") from None


def _note(verb: str, group: MachineGroup, actor: str, **detail: Any) -> None:
    record_audit(verb, actor=actor, object=f"group:{group.pk}", tenant=group.tenant_id, **detail)


def _replan(tenant_id: UUID, machines: list[UUID]) -> None:
    if machines:
        from backup_platform.policies.planning import replan  # late: policies know machines, not the other way

        replan(tenant_id, machines=machines)
