"""`manage.py thaw SNAPSHOT --tenant NAME`: ask cold storage for all that a snapshot needs, and say how far that is."""

from __future__ import annotations

from django.core.management.base import CommandError

from backup_platform.catalog.models import Snapshot
from backup_platform.console.showing import size
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import tenant_scope
from backup_platform.tiering.cold_needs import block_reader, thaw_for

SHORTEST = 4
ROUNDS = 10_000
"""Each does a bounded amount; a snapshot of a petabyte would need more."""


class Command(OperatorCommand):
    """A restore asks by itself. This is for work that must not: verifying, healing, a machine with an old agent."""

    help = (
        "Ask cold storage for all that a snapshot needs. It takes hours and costs money; run it again to see how far."
    )

    def add_arguments(self, parser):
        parser.add_argument("snapshot", help="its id, or the beginning of it")
        parser.add_argument("--tenant", required=True, metavar="NAME", help="whose it is")

    def handle(self, *args, snapshot, tenant, **options):
        with tenant_scope(self.tenant(tenant).pk):
            row = self._find(snapshot)
            asked = 0
            for _ in range(ROUNDS):
                progress = thaw_for(row, [], block_reader(row), self.actor)
                asked += progress.asked
                if not progress.more:
                    break
        if progress.refused:
            raise CommandError(
                f"{progress.refused} packs could not be asked for: their target is away, or its credentials lack the "
                "right RestoreObject. The copies' pages say more."
            )
        if progress.waiting or progress.more:
            self.stdout.write(f"Asked for {asked} packs. {progress.waiting} ({size(progress.bytes)}) are on their way.")
        else:
            self.stdout.write("All that it needs can be read.")

    def _find(self, name):
        wanted = name.lower().replace("-", "")
        ids = Snapshot.objects.order_by().values_list("pk", flat=True).iterator()
        found = [pk for pk in ids if pk.hex.startswith(wanted)] if len(wanted) >= SHORTEST else []
        if len(found) != 1:
            raise CommandError("Name one snapshot: its id, or so much of the beginning that no other has it.")
        return Snapshot.objects.select_related("vault").get(pk=found[0])
