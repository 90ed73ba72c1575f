"""`manage.py probe_target NAME`: try a target now, say and keep what it can do. Exit code 1 when it cannot be used."""

from __future__ import annotations

from backup_platform.targets.commands import TargetCommand, add_naming


class Command(TargetCommand):
    """Probes a target."""

    help = "Write, read, list and delete some objects in a folder of their own, and say how the target did it."

    def add_arguments(self, parser):
        add_naming(parser)

    def handle(self, *args, name, tenant, **options):
        target = self.target(name, self.owner(tenant))
        self.tell(target, self.probe(target), as_json=options["json"])
