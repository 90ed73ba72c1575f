"""A machine's way in and out by a person's decision: approved, refused, revoked, decommissioned.

Each is one guarded UPDATE, so that of two decisions at once one counts, with an audit line of before and after. A
machine that leaves keeps its snapshots; policies do not apply to it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from backup_platform.audit.services import record as record_audit
from backup_platform.jobs.waking import wake
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.scope import tenant_scope

from .errors import StateRefused
from .models import Machine, MachineState

MANAGE = "machines.manage"
MAX_REASON = 300
GROUP = 4


def fingerprint(machine: Machine) -> str:
    """The SHA-256 of a machine's identity key as both sides show it: 64 hexadecimal digits in groups of four."""
    digits = bytes(machine.identity_hash).hex()
    return " ".join(digits[start : start + GROUP] for start in range(0, len(digits), GROUP))


def approve_machine(machine: Machine, *, by: Asker) -> None:
    """Let a waiting machine in, after its fingerprint was compared. Raises `StateRefused`, `Forbidden`."""
    actor = allowed(by, MANAGE, machine)
    if not _move(machine, [MachineState.PENDING], MachineState.ACTIVE, "machine.approved", actor):
        raise StateRefused(f"{machine.name} does not wait for approval (any more).")


def refuse_machine(machine: Machine, *, by: Asker) -> None:
    """Turn a waiting machine away for good. Raises `StateRefused`, `Forbidden`."""
    actor = allowed(by, MANAGE, machine)
    if not _move(machine, [MachineState.PENDING], MachineState.REVOKED, "machine.refused", actor):
        raise StateRefused(f"{machine.name} does not wait for approval (any more).")


def revoke_machine(machine: Machine, *, actor: Asker) -> bool:
    """Take a machine's access away for good; its snapshots stay. False when it had none before."""
    name = allowed(actor, MANAGE, machine)
    return _move(machine, [MachineState.ACTIVE, MachineState.PENDING], MachineState.REVOKED, "machine.revoked", name)


def decommission_machine(machine: Machine, *, by: Asker, reason: str) -> None:
    """Take a machine out of service, saying why; its snapshots stay. Raises `StateRefused`, `Forbidden`."""
    actor, reason = allowed(by, MANAGE, machine), reason.strip()
    if not reason:
        raise StateRefused("Say why the machine is decommissioned: whoever meets its snapshots later will ask.")
    before = [MachineState.ACTIVE, MachineState.PENDING, MachineState.REVOKED]
    verb, note = "machine.decommissioned", {"reason": reason[:MAX_REASON]}
    if not _move(machine, before, MachineState.DECOMMISSIONED, verb, actor, **note):
        raise StateRefused(f"{machine.name} was decommissioned before.")


def _move(machine: Machine, before: Sequence[str], after: str, verb: str, actor: str, **note: str) -> bool:
    """The guarded UPDATE and its audit line; False when the machine was in none of the states `before`."""
    ends = {} if after == MachineState.ACTIVE else {"revoked_at": Now()}
    with tenant_scope(machine.tenant_id), transaction.atomic():
        row = Machine.objects.select_for_update().filter(pk=machine.pk, state__in=before).first()
        if row is None or not Machine.objects.filter(pk=row.pk, state__in=before).update(state=after, **ends):
            return False
        record_audit(verb, actor=actor, object=f"machine:{row.pk}", tenant=row.tenant_id, name=row.name,
                     before={"state": row.state}, after={"state": after}, **note)  # fmt: skip
        plan_again(row.tenant_id, row.pk)
        wake(row.pk)  # gateways end the open connections of a machine that may not be here any more
    machine.state = after
    return True


def plan_again(tenant_id: UUID, machine_id: UUID) -> None:
    """What is due on a machine changes with its state and its groups."""
    from backup_platform.policies.planning import replan  # late: policies stand above fleet

    replan(tenant_id, machines=[machine_id])
