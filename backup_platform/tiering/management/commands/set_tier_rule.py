"""`manage.py set_tier_rule --target NAME [--tenant NAME] …`: when packs are copied to a target, and when they leave."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.utils import timezone

from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.errors import TieringRefused
from backup_platform.tiering.finding import target_named
from backup_platform.tiering.models import MOST_DAYS, CopyWhen, EvictWhen, TierRule
from backup_platform.tiering.services import save_rule


class Command(OperatorCommand):
    """A target has one rule for a tenant, or for all: this makes it, or changes it."""

    help = (
        "Copy packs to a target: --copy verified, --copy 30 (days after they were verified) or --copy watermark."
        " Let local copies go: --evict never, --evict 90 (days) or --evict watermark; never before so many copies as"
        " --copies says were read back."
    )

    def add_arguments(self, parser):
        parser.add_argument("--target", required=True, metavar="NAME")
        parser.add_argument("--tenant", default="", metavar="NAME", help="only this tenant's packs; else everybody's")
        parser.add_argument("--copy", default="verified", metavar="WHEN")
        parser.add_argument("--evict", default="never", metavar="WHEN")
        parser.add_argument("--copies", type=int, default=1, help="good copies that a local file leaves behind")
        parser.add_argument("--at-once", action="store_true", help="do not wait for small packs to be joined")
        parser.add_argument("--pause", action="store_true", help="do nothing by this rule for now")

    def handle(self, *args, tenant, target, copies, at_once, pause, **options):
        owner = self.tenant(tenant) if tenant else None
        copy_when, copy_days = read_when(options["copy"], CopyWhen)
        evict_when, evict_days = read_when(options["evict"], EvictWhen)
        if not 1 <= copies <= 10:
            raise CommandError("--copies is a number from 1 to 10: without any copy nothing may leave.")
        try:
            with without_tenant_scope("an operator sets rules for any tenant"):
                place = target_named(target, owner.pk if owner else None)
                rule = TierRule.objects.filter(target=place, tenant=owner).first() or TierRule(
                    target=place, tenant=owner
                )
                rule.copy_when, rule.copy_days = copy_when, copy_days
                rule.evict_when, rule.evict_days = evict_when, evict_days
                rule.min_copies, rule.at_once = copies, at_once
                rule.paused_at = timezone.now() if pause else None
                save_rule(rule, self.actor)
        except TieringRefused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write(f"Packs of {owner.name if owner else 'every tenant'} go to {place.name}.")


def read_when(written, choices):
    """A word of the choices, or a number of days."""
    if written in choices.values and written != "days":
        return written, 0
    if written.isascii() and written.isdigit() and int(written) <= MOST_DAYS:
        return "days", int(written)
    words = ", ".join(value for value in choices.values if value != "days")
    raise CommandError(f"{written!r} is neither {words} nor a number of days (at most {MOST_DAYS}).")
