"""Taking a machine's access away without a word to any gateway, so that only its own questions can find out."""

from __future__ import annotations

from backup_platform.fleet.models import Machine, MachineState
from backup_platform.tenants.scope import without_tenant_scope


def revoke_unannounced(machine: Machine) -> None:
    """Change the row and nothing else: the control desk, which would end the connection, looks seconds later."""
    with without_tenant_scope("a test revokes a machine behind the gateway's back"):
        Machine.objects.filter(pk=machine.pk).update(state=MachineState.REVOKED)
