"""`manage.py create_policy --tenant NAME POLICY --set NAME=VALUE … --group NAME`: make a policy and assign it."""

from __future__ import annotations

import json

from django.core.management.base import CommandError
from django.db import transaction

from backup_platform.fleet.models import Machine, MachineGroup
from backup_platform.policies.assignments import assign
from backup_platform.policies.errors import PolicyMissing, PolicyRefused
from backup_platform.policies.services import create_policy
from backup_platform.policies.templates import TEMPLATES
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import tenant_scope


class Command(OperatorCommand):
    """Everything is made, or nothing."""

    help = (
        "Make a policy and say to whom it applies. Settings are those of docs/how-to/write-a-policy.md, each value in"
        " JSON: --set 'selection.sources=[\"/srv\"]' --set 'schedule.kind=\"cron\"'."
    )

    def add_arguments(self, parser):
        parser.add_argument("policy", help="the policy's name")
        parser.add_argument("--tenant", required=True, metavar="NAME")
        parser.add_argument("--template", choices=sorted(TEMPLATES), help="settings to begin with")
        parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="written")
        parser.add_argument("--group", action="append", default=[], metavar="NAME", help="may be repeated")
        parser.add_argument("--machine", action="append", default=[], metavar="NAME", help="may be repeated")
        parser.add_argument("--everywhere", action="store_true", help="assign it to the whole tenant")

    def handle(self, *args, tenant, policy, template, written, group, machine, everywhere, **options):
        owner = self.tenant(tenant)
        values = {**(TEMPLATES[template].settings if template else {}), **dict(map(read_setting, written))}
        try:
            with tenant_scope(owner), transaction.atomic():
                made = create_policy(owner, policy, values, by=self.actor)
                for name in group:
                    assign(made, by=self.actor, group=self._named(MachineGroup, name, "group"))
                for name in machine:
                    assign(made, by=self.actor, machine=self._named(Machine, name, "machine"))
                if everywhere:
                    assign(made, by=self.actor)
                planned = made.plans.count()
        except PolicyRefused as fault:
            raise CommandError("\n".join(f"{one.name or policy}: {one.sentence}" for one in fault.faults)) from None
        except PolicyMissing as fault:
            raise CommandError(str(fault)) from None
        self.stdout.write(f"The policy {made.name} applies to {planned} machine{'' if planned == 1 else 's'}.")

    def _named(self, model, name, kind):
        found = model.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"There is no {kind} named {name!r}; nothing was made.")
        return found


def read_setting(text):
    """NAME=VALUE as a pair; CommandError unless the value is JSON."""
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"{text!r} is no setting: write NAME=VALUE.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        raise CommandError(
            f"The value of {name.strip()} is not JSON: {value!r}. Texts stand in double quotes, lists in brackets."
        ) from None
