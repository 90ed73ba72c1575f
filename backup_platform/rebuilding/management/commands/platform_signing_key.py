"""`manage.py platform_signing_key [--out FILE] [--replace]`: by which key the platform's own backups are known."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup.chain import chain
from backup_platform.rebuilding.platform_backup.telling import replace_signer, tell_signer, tell_signer_into
from backup_platform.tenants.commands import OperatorCommand


class Command(OperatorCommand):
    """Tells the operator what to keep beside his key."""

    help = "Say which key signs the platform's own backups, so that a restore knows them. Keep it off this host."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--out", type=Path, metavar="FILE", help="write it into this list of signers (new or not) beside the key"
        )
        parser.add_argument("--replace", action="store_true", help="sign with a new key from now on; needs --out")

    def handle(self, *args: Any, **options: Any) -> None:
        out = options["out"]
        if options["replace"] and out is None:
            raise CommandError(
                "Give --out FILE with --replace: without it the next backups cannot be told from forged."
            )
        try:
            signer = self._told(out, replace=options["replace"])
            number = chain().number
        except RebuildRefused as fault:
            raise CommandError(str(fault)) from None
        except OSError as fault:
            raise CommandError(f"{out}: {(fault.strerror or 'cannot be used').lower()}.") from None
        self.stdout.write(f"The platform signs its own backups with this key: {signer}")
        self.stdout.write(f"It has numbered its backups up to {number}." if number else "It has made no backup yet.")
        self._advise(out, replaced=options["replace"])

    def _told(self, out: Path | None, *, replace: bool) -> str:
        if out is None:
            return tell_signer()
        return replace_signer(out, self.actor) if replace else tell_signer_into(out)

    def _advise(self, out: Path | None, *, replaced: bool) -> None:
        if out is None:
            self.stdout.write("Note both away from this host and from its targets; --out FILE writes them down.")
            return
        self.stdout.write(f"{out} says so: keep it beside operator-key.pem, off this host.")
        if replaced:
            self.stdout.write(
                "The former key's line still stands there, for the backups that it signed. If it may have been stolen, "
                "take that line out."
            )
