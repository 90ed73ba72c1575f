"""`manage.py tier_status --tenant NAME [--json]`: where a tenant's packs are, and how far each target is behind."""

from __future__ import annotations

import json

from backup_platform.console import showing
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tiering.queries import degraded, storage_of


class Command(OperatorCommand):
    """One line for this host, one for each target."""

    help = "Show where packs are, what is on one disk only, and how far each target is behind."

    def add_arguments(self, parser):
        parser.add_argument("--tenant", required=True, metavar="NAME")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args, tenant, **options):
        owner = self.tenant(tenant)
        storage, faults = storage_of(owner.pk), degraded(owner.pk)
        if options["json"]:
            self.stdout.write(json.dumps({**storage.as_json(), "faults": faults}, default=str))
            return
        self.stdout.write(
            f"{storage.packs:,} packs, {showing.size(storage.bytes)}; {storage.here_packs:,} here"
            f" ({showing.size(storage.here_bytes)}), {storage.remote_packs:,} at targets only;"
            f" {showing.size(storage.single_bytes)} in one place only"
        )
        for at in storage.targets:
            self.stdout.write(
                f"{at.name} ({at.state}): {at.copies:,} packs, {showing.size(at.bytes)};"
                f" {at.lacking_packs:,} packs behind, {showing.duration(at.lag_seconds)}"
            )
        for sentence in faults:
            self.stdout.write(sentence)
