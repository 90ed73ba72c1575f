"""`manage.py drain_target NAME [--tenant NAME] [--replace-by NAME]`: empty a target without losing a copy."""

from __future__ import annotations

from django.core.management.base import CommandError

from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.errors import TieringRefused
from backup_platform.tiering.finding import target_named
from backup_platform.tiering.services import replace_target, start_drain


class Command(OperatorCommand):
    """The work itself is done by workers; `tier_status` shows how far it is."""

    help = "Copy elsewhere what lies at a target only, then remove its copies and retire it."

    def add_arguments(self, parser):
        parser.add_argument("name", help="the target's name")
        parser.add_argument("--tenant", default="", metavar="NAME", help="whose it is; else a shared one")
        parser.add_argument("--replace-by", default="", metavar="NAME", help="a target that takes its rules over")

    def handle(self, *args, name, tenant, replace_by, **options):
        owner = self.tenant(tenant).pk if tenant else None
        try:
            with without_tenant_scope("an operator drains any target"):
                old = target_named(name, owner)
                if replace_by:
                    replace_target(old, target_named(replace_by, owner), self.actor)
                else:
                    start_drain(old, self.actor)
        except TieringRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(f"{old.name} is being drained. It is retired once nothing lies there any more.")
