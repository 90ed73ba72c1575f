"""`manage.py scrub [--json]`: re-read everything now, at every place, and name every bad pack, copy and snapshot."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError

from backup_platform.catalog.scrubbing import Fault, Scrubbed
from backup_platform.storage.base import StoreError
from backup_platform.upkeep.scrub_now import scrub_everything

CLEAN, COULD_NOT_RUN, DAMAGE = 0, 1, 20


class Command(BaseCommand):
    requires_system_checks: list[str] = []
    help = (
        "Re-read all packs, copies, roots, statements and records, and heal what can be healed. "
        "Exit code 0: clean, 20: damage was found, 1: could not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line, the last a summary")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            result = scrub_everything()
        except (DatabaseError, StoreError) as fault:
            self.stderr.write(f"The scrub could not run: {str(fault).strip().splitlines()[0]}")
            sys.exit(COULD_NOT_RUN)
        code = DAMAGE if result.damaged else COULD_NOT_RUN if result.unread else CLEAN
        if options["json"]:
            self._print_json(result, code)
        else:
            self._print(result, code)
        if code:
            sys.exit(code)

    def _print_json(self, result: Scrubbed, code: int) -> None:
        for kind, faults in (("damage", result.damaged), ("unread", result.unread)):
            for fault in faults:
                self.stdout.write(json.dumps({"message_type": kind, **asdict(fault)}))
        self.stdout.write(json.dumps({"message_type": "summary", **_summary(result), "exit_code": code}))

    def _print(self, result: Scrubbed, code: int) -> None:
        for fault in result.damaged:
            self.stdout.write(f"DAMAGED  {fault.kind} {fault.name}: {fault.fault}")
        for fault in result.unread:
            self.stdout.write(f"NOT READ {fault.kind} {fault.name}: {fault.fault}")
        self.stdout.write(
            f"{result.packs} packs and {result.copies} copies at other targets ({result.bytes / 1e6:.1f} MB), "
            f"{result.snapshots} snapshots and {result.records} records were looked at; "
            f"{result.open_packs} packs are still being written."
        )
        verdict = {CLEAN: "All is well.", DAMAGE: "There is damage.", COULD_NOT_RUN: "Not everything could be read."}
        self.stdout.write(verdict[code])


def _summary(result: Scrubbed) -> dict[str, Any]:
    def names(faults: list[Fault], kind: str) -> list[str]:
        return [fault.name for fault in faults if fault.kind == kind]

    return {
        "packs": result.packs,
        "copies": result.copies,
        "bytes": result.bytes,
        "snapshots": result.snapshots,
        "records": result.records,
        "open_packs": result.open_packs,
        "damaged_packs": names(result.damaged, "pack"),
        "damaged_snapshots": names(result.damaged, "snapshot"),
        "damaged_records": names(result.damaged, "record"),
        "damaged_copies": names(result.damaged, "copy"),
        "damaged_parity": names(result.damaged, "parity"),
        "unread": [fault.name for fault in result.unread],
    }
