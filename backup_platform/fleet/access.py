"""Who may connect as which machine."""

from __future__ import annotations

from backup_platform.tenants.scope import without_tenant_scope

from .errors import MachineDecommissioned, MachinePending, MachineRevoked, MachineUnknown
from .models import Machine, MachineState

REFUSALS: dict[str, type[MachineRevoked]] = {
    MachineState.PENDING: MachinePending,
    MachineState.DECOMMISSIONED: MachineDecommissioned,
}


def authenticate(spki_sha256: bytes) -> Machine:
    """The active machine with this identity key (SHA-256 of its SubjectPublicKeyInfo), with its vault.

    Identity is the key alone, never a name in a certificate. Ask on every connection and again before each backup or
    restore, so that a revocation counts at once. Raises `MachineUnknown`, `MachineRevoked` and its kinds.
    """
    machine = _machine_with_key(spki_sha256)
    if machine.state != MachineState.ACTIVE:
        raise REFUSALS.get(machine.state, MachineRevoked)(machine.name)
    return machine


def admit(spki_sha256: bytes) -> Machine:
    """As `authenticate`, for the greeting alone: a machine that waits for approval may still publish its record.

    Enrolment ends with that record, and without it the machine could not prove anything once it is approved. With the
    record published it is refused here too; whatever else it asks for, `authenticate` refuses.
    """
    machine = _machine_with_key(spki_sha256)
    if machine.state == MachineState.PENDING and not machine.record:
        return machine
    return authenticate(spki_sha256)


def _machine_with_key(spki_sha256: bytes) -> Machine:
    with without_tenant_scope("the key says which machine, and so which tenant, is calling"):
        found = Machine.objects.select_related("vault", "tenant").filter(identity_hash=spki_sha256)
        machine: Machine | None = found.first()
    if machine is None:
        raise MachineUnknown
    return machine
