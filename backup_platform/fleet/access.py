"""Who may connect as which machine."""

from __future__ import annotations

from backup_platform.tenants.scope import without_tenant_scope

from .errors import MachineRevoked, MachineUnknown
from .models import Machine, MachineState


def authenticate(spki_sha256: bytes) -> Machine:
    """The active machine with this identity key (SHA-256 of its SubjectPublicKeyInfo), with its vault.

    Identity is the key alone, never a name in a certificate. Ask on every connection and again before each backup or
    restore, so that a revocation counts at once. Raises `MachineUnknown`, `MachineRevoked`.
    """
    with without_tenant_scope("the key says which machine, and so which tenant, is calling"):
        found = Machine.objects.select_related("vault", "tenant").filter(identity_hash=spki_sha256)
        machine: Machine | None = found.first()
    if machine is None:
        raise MachineUnknown
    if machine.state != MachineState.ACTIVE:
        raise MachineRevoked(machine.name)
    return machine
