"""`manage.py reclaim [--tenant NAME] [--dry-run] [--json]`: carry reclaim on now, or say what it would do."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone
from psycopg.errors import LockNotAvailable

from backup_platform.storage.base import StoreError
from backup_platform.tenants.commands import OperatorCommand
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep.compacting import compact_vault
from backup_platform.upkeep.emptying import GRACE
from backup_platform.upkeep.guards import pause_in_force
from backup_platform.upkeep.jobs import summary
from backup_platform.upkeep.models import RoundState
from backup_platform.upkeep.reclaiming import reclaim_vault
from backup_platform.upkeep.reports import preview
from backup_platform.upkeep.services import pause_reclaim, resume_reclaim
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault

DONE, STOPPED = 0, 1
FOR_EVER = 10.0**9


class Command(OperatorCommand):
    """Retires expired snapshots, condemns and removes chunks that nothing needs, compacts packs."""

    help = (
        "Take away what no snapshot needs any more, and compact packs. Safe at any time: what backups under way may "
        "count on is waited for. Exit code 0: done (or waiting), 1: stopped or could not run."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", metavar="NAME", help="only this tenant's vaults (default: all)")
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument("--no-compact", action="store_true", help="rewrite no packs")
        parser.add_argument("--grace", type=int, default=int(GRACE.total_seconds()), metavar="SECONDS",
                            help="files go so long after the last row that named them (default: an hour, for readers "
                            "that are about to open them)")  # fmt: skip
        parser.add_argument("--accept-loss", action="store_true",
                            help="snapshots have vanished, or nearly all go: that is as it should be")  # fmt: skip
        parser.add_argument("--pause", action="store_true", help="reclaim nothing from now on")
        parser.add_argument("--resume", action="store_true", help="end the pause")
        parser.add_argument("--reason", default="", help="why it is paused")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, the last a summary")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = self.tenant(options["tenant"]) if options["tenant"] else None
        if options["grace"] < 0:
            raise CommandError("--grace takes seconds, 0 or more.")
        if options["pause"] or options["resume"]:
            self._switch(tenant, options)
            return
        with without_tenant_scope("the operator's command goes over every tenant"):
            vaults = Vault.objects.select_related("tenant").order_by("number")
            mine = list(vaults if tenant is None else vaults.filter(tenant=tenant))
        try:
            lines = [self._one(vault, options) for vault in mine]
        except OperationalError as fault:
            if not isinstance(fault.__cause__, LockNotAvailable):
                raise
            raise CommandError("A vault is busy with a large commit just now. Nothing is lost; try again.") from None
        except StoreError as fault:
            raise CommandError(f"The home directory cannot be used just now, so nothing was done: {fault}") from None
        self._end(lines, options)

    def _switch(self, tenant, options) -> None:
        whose = tenant.pk if tenant else None
        where = f"of tenant {tenant.name}" if tenant else "of the whole platform"
        if options["pause"]:
            made = pause_reclaim(whose, by=self.actor, reason=options["reason"])
            text = f"Reclaim {where} is paused." if made else f"Reclaim {where} was paused before."
        else:
            ended = resume_reclaim(whose, by=self.actor)
            text = f"Reclaim {where} goes on." if ended else f"Reclaim {where} was not paused."
        self.stdout.write(json.dumps({"message_type": "summary", "text": text}) if options["json"] else text)

    def _one(self, vault, options) -> dict[str, Any]:
        head = {"tenant": vault.tenant.name, "vault": vault.name}
        with tenant_scope(vault.tenant_id):
            found = asdict(preview(vault)) if options["dry_run"] else self._act(vault, options)
        line = {**head, **found}
        if paused := pause_in_force(vault.tenant_id, for_staff=True):
            line["refused" if options["dry_run"] else "waits_for"] = paused
        if options["json"]:
            self.stdout.write(json.dumps({"message_type": "vault", **line}))
        else:
            self.stdout.write(_previewed(line) if options["dry_run"] else _told(line))
        return line

    def _act(self, vault, options) -> dict[str, Any]:
        grace = timedelta(seconds=options["grace"])
        accepted = self.actor if options["accept_loss"] else ""
        turn = Turn(seconds=FOR_EVER)
        outcome = reclaim_vault(vault, turn, grace=grace, accepted_by=accepted)
        done = summary(outcome)
        stopped = outcome.round is not None and outcome.round.state == RoundState.STOPPED
        if not options["no_compact"] and not stopped:
            done["compact"] = asdict(compact_vault(vault, turn, grace=grace))
            if grace <= timedelta(0):
                files = reclaim_vault(vault, turn, begin=False, grace=grace)
                done["unlinked_packs"] += files.unlinked_packs
                done["unlinked_bytes"] += files.unlinked_bytes
        return done

    def _end(self, lines, options) -> None:
        stopped = [line for line in lines if line.get("refused") or line.get("round", {}).get("state") == "stopped"]
        code = STOPPED if stopped else DONE
        if options["json"]:
            figures = {"vaults": len(lines), "stopped": len(stopped), "at": timezone.now().isoformat()}
            self.stdout.write(json.dumps({"message_type": "summary", **figures, "exit_code": code}))
        elif not lines:
            self.stdout.write("There is no vault.")
        if code:
            sys.exit(code)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _previewed(line: dict[str, Any]) -> str:
    if line["refused"]:
        return f"{line['vault']}: would not act. {line['refused']}"
    return (
        f"{line['vault']}: {line['snapshots']} snapshots count, {line['retiring']} more would stop counting; "
        f"{line['chunks']:,} chunks ({_megabytes(line['chunk_bytes'])}) are needed by none. "
        f"{line['open_sessions']} backups are under way. {line['compacting_packs']} packs would be rewritten "
        f"(frees {_megabytes(line['compacting_bytes'])}); {line['leaving_packs']} packs "
        f"({_megabytes(line['leaving_bytes'])}) are on their way out."
    )


def _told(line: dict[str, Any]) -> str:
    parts = []
    if "round" in line:
        round_ = line["round"]
        parts.append(
            f"round {round_['number']} is {round_['state']}: {round_['retired']} snapshots stopped counting, "
            f"{round_['condemned']:,} chunks condemned, {round_['removed']:,} removed "
            f"({_megabytes(round_['removed_bytes'])}), {round_['revived']:,} revived, {round_['packs']} packs emptied."
        )
    if line["waits_for"]:
        parts.append(f"Waits for: {line['waits_for']}")
    if line.get("compact", {}).get("sources"):
        done = line["compact"]
        freed = _megabytes(done["bytes_before"] - done["bytes_after"])
        parts.append(f"{done['sources']} packs were rewritten into {done['packs']}, which frees {freed}.")
    if line.get("compact", {}).get("waits_for"):
        parts.append(line["compact"]["waits_for"])
    parts.append(f"Files of {line['unlinked_packs']} packs ({_megabytes(line['unlinked_bytes'])}) were removed.")
    return f"{line['vault']}: {' '.join(parts)}"
