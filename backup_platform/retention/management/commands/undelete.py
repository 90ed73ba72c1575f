"""`manage.py undelete SNAPSHOT… [--json]`: bring expired snapshots back."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from backup_platform.catalog.models import Snapshot
from backup_platform.retention.errors import RetentionRefused
from backup_platform.retention.services import bring_back
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import without_tenant_scope


class Command(OperatorCommand):
    help = "Bring expired snapshots back, while their data is still there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "snapshots", nargs="+", metavar="SNAPSHOT", help="a snapshot's id, or its first 8 digits or more"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        failed = 0
        for wanted in options["snapshots"]:
            snapshot = self._find(wanted)
            try:
                state, fault = bring_back(snapshot, by=self.actor), ""
            except RetentionRefused as refused:
                state, fault, failed = snapshot.state, str(refused), failed + 1
            self._tell(snapshot, state, fault, options["json"])
        if failed:
            raise CommandError(f"{failed} could not be brought back.")

    def _find(self, wanted: str) -> Snapshot:
        digits = wanted.replace("-", "").lower()
        if len(digits) < 8 or len(digits) > 32 or digits.strip("0123456789abcdef"):
            raise CommandError(f"{wanted!r} is no snapshot's id; give 8 to 32 hexadecimal digits of it.")
        low, high = (UUID(digits.ljust(32, fill)) for fill in "0f")
        with without_tenant_scope("the operator names the snapshot"):
            rows = Snapshot.objects.select_related("machine").defer("bitmap", "blocks", "recipients", "statement")
            found = list(rows.filter(pk__gte=low, pk__lte=high)[:2])
        if len(found) != 1:
            raise CommandError(f"{'Several snapshots begin' if found else 'No snapshot begins'} with {wanted!r}.")
        return found[0]

    def _tell(self, snapshot: Snapshot, state: str, fault: str, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps({"snapshot": snapshot.pk.hex, "state": state, "error": fault}))
        elif fault:
            self.stderr.write(f"{snapshot.pk.hex[:12]}: {fault}")
        else:
            self.stdout.write(f"{snapshot.pk.hex[:12]} of {snapshot.machine.name} is back: {state}.")
