"""`manage.py revoke_machine --tenant NAME MACHINE`: take a machine's access away; its snapshots stay."""

from __future__ import annotations

from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Q

from backup_platform.fleet.approval import revoke_machine
from backup_platform.fleet.models import Machine
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import tenant_scope


class Command(OperatorCommand):
    """The machine may not connect any more; what it stored can still be restored with the kit."""

    help = "Revoke a machine's access. Its snapshots stay and can be restored with the kit."

    def add_arguments(self, parser):
        parser.add_argument("machine", help="the machine's name or id")
        parser.add_argument("--tenant", required=True, metavar="NAME")

    def handle(self, *args, tenant, machine, **options):
        owner = self.tenant(tenant)
        with tenant_scope(owner):
            found = Machine.objects.filter(_named(machine)).first()
        if found is None:
            raise CommandError(f"Tenant {tenant} has no machine named {machine!r}.")
        if revoke_machine(found, actor=self.actor):
            self.stdout.write(f"Revoked {found.name}. It cannot connect any more; its snapshots stay.")
        else:
            self.stdout.write(f"{found.name} was revoked before.")


def _named(text: str) -> Q:
    try:
        return Q(name=text) | Q(pk=UUID(text))
    except ValueError:
        return Q(name=text)
