"""`manage.py rebuild_catalog --target NAME | --directory DIR | --s3 URL`: the catalogue again, from a store alone."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.names import Names
from backup_platform.rebuilding.rebuild import rebuild
from backup_platform.rebuilding.report import Report
from backup_platform.rebuilding.source import Source, source_at, source_in_bucket, source_of_target
from backup_platform.storage.base import StoreError
from backup_platform.tenants.commands import OperatorCommand

DONE, DAMAGE = 0, 20


class Command(OperatorCommand):
    """Restores the catalogue into an empty database. Exit code 0: whole, 20: there is damage, 1: it could not run."""

    help = "Make the catalogue again in an empty database, from a target, a directory or a bucket alone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        place = parser.add_mutually_exclusive_group(required=True)
        place.add_argument("--target", metavar="NAME", help="a target of the platform that is set up already")
        place.add_argument("--directory", type=Path, metavar="DIR", help="a store's directory")
        place.add_argument(
            "--s3", metavar="URL", help="s3://BUCKET/PREFIX; credentials from AWS_ACCESS_KEY_ID and so on"
        )
        parser.add_argument("--endpoint", default="", metavar="URL", help="of the bucket's service; default: AWS")
        parser.add_argument("--region", default="", help="of the bucket")
        parser.add_argument("--allow-private", action="store_true", help="the endpoint may be a private address")
        parser.add_argument("--names", type=Path, metavar="FILE", help="JSON lines that name tenants and machines")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, the last a summary")

    def handle(self, *args: Any, **options: Any) -> None:
        say = (lambda sentence: None) if options["json"] else self.stdout.write
        try:
            names = Names.read(options["names"]) if options["names"] else Names()
            report = rebuild(self._source(options), names, actor=self.actor, say=say)
        except (RebuildRefused, StoreError) as fault:
            raise CommandError(str(fault)) from None
        (self._print_json if options["json"] else self._print)(report)
        if report.damage:
            sys.exit(DAMAGE)

    def _source(self, options: dict[str, Any]) -> Source:
        if options["target"]:
            return source_of_target(options["target"])
        if options["directory"]:
            return source_at(options["directory"])
        more = {name: options[name] for name in ("endpoint", "region", "allow_private")}
        return source_in_bucket(options["s3"], **more)

    def _print_json(self, report: Report) -> None:
        for fault in report.damage:
            self.stdout.write(json.dumps({"message_type": "damage", **asdict(fault)}))
        summary = {"made": dict(report.made), "damage": len(report.damage) + report.unnamed, "notes": report.notes}
        self.stdout.write(json.dumps({"message_type": "summary", **summary}))

    def _print(self, report: Report) -> None:
        for fault in report.damage:
            self.stdout.write(f"DAMAGED  {fault.kind} {fault.name}: {fault.fault}")
        for note in report.notes:
            self.stdout.write(note)
        made = ", ".join(f"{count:,} {what}" for what, count in report.made.items())
        self.stdout.write(f"Rebuilt: {made or 'nothing'}.")
        self.stdout.write(
            "Snapshots are verified by the running platform now. Machines wait for approval, or enrol again. Reclaim "
            "is paused until somebody resumes it: see docs/operations/come-back-from-nothing.md."
        )
