"""`manage.py expire [--dry-run] [--tenant NAME] [--machine NAME] [--json]`: let expire now what nothing keeps."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from backup_platform.fleet.models import Machine
from backup_platform.retention import lifecycle
from backup_platform.retention.previewing import preview_now
from backup_platform.retention.running import expire_all, prepare
from backup_platform.retention.telling import preview_as_data
from backup_platform.storage.base import StoreError
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope


class Command(OperatorCommand):
    help = "Let snapshots expire that no rule keeps; --dry-run: say which would, why the others stay, what is freed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="change nothing, only say what would be done")
        parser.add_argument("--tenant", help="of this tenant only; otherwise of all")
        parser.add_argument("--machine", help="of this machine only; needs --tenant")
        parser.add_argument("--announced", action="store_true",
                            help="with --dry-run: as if every announced change were in force already")  # fmt: skip
        parser.add_argument("--json", action="store_true", help="one JSON object a line, the last a summary")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["machine"] and not options["tenant"]:
            raise CommandError("Name the tenant of the machine too: --tenant NAME --machine NAME.")
        if options["announced"] and not options["dry_run"]:
            raise CommandError("--announced only looks: add --dry-run. Announced changes take effect at their time.")
        summary = {"message_type": "summary", "dry_run": options["dry_run"], "tenants": 0, "expired": 0, "stopped": 0,
                   "bytes_freed": 0}  # fmt: skip
        for tenant in self._tenants(options["tenant"]):
            with tenant_scope(tenant):
                machines = self._machines(tenant, options["machine"])
                work = self._look if options["dry_run"] else self._expire
                work(tenant, machines, options, summary)
            summary["tenants"] += 1
        self._end(summary, options["json"])

    def _tenants(self, name: str | None) -> list[Tenant]:
        if name:
            return [self.tenant(name)]
        with without_tenant_scope("every tenant's snapshots are looked at"):
            return list(Tenant.objects.order_by("name"))

    def _machines(self, tenant: Tenant, name: str | None) -> list[Machine] | None:
        if not name:
            return None
        found = list(Machine.objects.filter(tenant=tenant, name=name))
        if not found:
            raise CommandError(f"There is no machine named {name!r} in {tenant.name}; see its list of machines.")
        return found

    def _look(self, tenant: Tenant, machines: Any, options: dict[str, Any], summary: dict[str, Any]) -> None:
        preview = preview_now(tenant.pk, machines, announced=options["announced"])
        data = preview_as_data(preview, most=1_000_000)
        summary["expired"] += preview.expiring
        summary["stopped"] += len(data["stopped_machines"])
        summary["bytes_freed"] += preview.freed.bytes
        for entry in data.pop("snapshots"):
            if options["json"]:
                self.stdout.write(json.dumps({"message_type": "snapshot", "tenant": tenant.name, **entry}))
            else:
                verb = "keep  " if entry["keep"] else "expire"
                why = "; ".join(entry["reasons"])
                self.stdout.write(f"{verb} {tenant.name}/{entry['machine']} {entry['received_at'][:16]}: {why}")
        for name in data["stopped_machines"]:
            self._say(options, f"{tenant.name}/{name}: so many would go that the run would stop and ask a person.")

    def _expire(self, tenant: Tenant, machines: Any, options: dict[str, Any], summary: dict[str, Any]) -> None:
        prepare(tenant.pk)
        for machine in machines or Machine.objects.filter(tenant=tenant).order_by("name"):
            counts = {"expired": 0, "stopped": 0}
            expire_all(machine, counts)
            summary["expired"] += counts["expired"]
            summary["stopped"] += counts["stopped"]
            if counts["stopped"]:
                self._say(options, f"{tenant.name}/{machine.name}: stopped; a person must confirm it.")
        try:
            lifecycle.write_due(tenant.pk)
        except StoreError as fault:
            self.stderr.write(f"Records will be written later: {fault}")

    def _say(self, options: dict[str, Any], sentence: str) -> None:
        if options["json"]:
            self.stdout.write(json.dumps({"message_type": "warning", "text": sentence}))
        else:
            self.stdout.write(sentence)

    def _end(self, summary: dict[str, Any], as_json: bool) -> None:
        summary["at"] = timezone.now().isoformat()
        if as_json:
            self.stdout.write(json.dumps(summary))
        elif summary["dry_run"]:
            freed = summary["bytes_freed"] / 1e6
            self.stdout.write(
                f"{summary['expired']} snapshots would expire; {freed:.1f} MB would be freed. Nothing was changed."
            )
        else:
            self.stdout.write(
                f"{summary['expired']} snapshots expired. They can be brought back: manage.py undelete ID."
            )
