"""`manage.py create_group --tenant NAME GROUP [--machine NAME]…`: make a group of machines, or add machines to it."""

from __future__ import annotations

from django.core.management.base import CommandError

from backup_platform.fleet.groups import GroupRefused, add_machines, make_group
from backup_platform.fleet.models import Machine, MachineGroup
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import tenant_scope


class Command(OperatorCommand):
    """A group that is there already is kept as it is; the machines named are put into it."""

    help = "Make a group of machines, or put machines into one that is there."

    def add_arguments(self, parser):
        parser.add_argument("group", help="the group's name")
        parser.add_argument("--tenant", required=True, metavar="NAME")
        parser.add_argument("--machine", action="append", default=[], metavar="NAME", help="may be repeated")

    def handle(self, *args, tenant, group, machine, **options):
        owner = self.tenant(tenant)
        with tenant_scope(owner):
            machines = [self._machine(tenant, name) for name in machine]
            try:
                row = MachineGroup.objects.filter(name=group).first() or make_group(owner, group, by=self.actor)
                added = add_machines(row, machines, by=self.actor)
            except GroupRefused as fault:
                raise CommandError(str(fault)) from None
            count = row.memberships.count()
        self.stdout.write(f"The group {row.name} has {count} machine{'' if count == 1 else 's'}; added now: {added}.")

    def _machine(self, tenant, name):
        found = Machine.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"Tenant {tenant} has no machine named {name!r}; nothing was changed.")
        return found
