"""`manage.py verify_audit`: recompute every audit chain; name the first line of each that does not fit."""

from __future__ import annotations

import json

from django.core.management.base import BaseCommand, CommandError

from backup_platform.audit.queries import ChainReport, check_chains


class Command(BaseCommand):
    """Exit 0 when every chain holds, 1 when one is broken."""

    help = "Check the hash chains of the audit and name the first broken line of each."

    def add_arguments(self, parser):
        parser.add_argument("--json", action="store_true", help="print one JSON object a chain")

    def handle(self, *args, **options):
        reports = []
        for report in check_chains():
            reports.append(report)
            self.stdout.write(_as_json(report) if options["json"] else _as_text(report))
        broken = [report for report in reports if report.broken]
        if broken:
            raise CommandError(
                f"{len(broken)} of {len(reports)} audit chains are broken. Compare with a backup of the database from "
                "before the change, and find out who had the owner's rights on it."
            )


def _as_text(report: ChainReport) -> str:
    if report.broken:
        return f"BROKEN  {report.owner}: line {report.broken.entry_id}: {report.broken.fault}."
    head = f", head {report.head.hex()[:16]}" if report.head else ""
    return f"ok      {report.owner}: {report.lines} lines{head}."


def _as_json(report: ChainReport) -> str:
    broken = {"line": report.broken.entry_id, "fault": report.broken.fault} if report.broken else None
    return json.dumps(
        {"chain": report.owner, "lines": report.lines, "head": report.head.hex() or None, "broken": broken}
    )
