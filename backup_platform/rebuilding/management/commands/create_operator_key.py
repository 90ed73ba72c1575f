"""`manage.py create_operator_key --out DIR`: the key that the platform's own backups are sealed to."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from agents.keys.faults import KeyFault
from agents.keys.passphrases import weakness_of
from agents.keys.rsa import generate
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup.operator_key import MAX_FILE, install_public_key
from backup_platform.rebuilding.platform_backup.signers import SIGNERS
from backup_platform.rebuilding.platform_backup.telling import tell_signer, tell_signer_into
from backup_platform.tenants.commands import OperatorCommand, new_passphrase

PRIVATE, PUBLIC = "operator-key.pem", "operator-public.pem"


class Command(OperatorCommand):
    """Makes the pair; only the public half stays with the platform."""

    help = "Make the operator's key pair under a passphrase. Keep DIR away from this host; the public half stays here."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, metavar="DIR", help="a new directory for the pair")
        parser.add_argument(
            "--public", type=Path, metavar="FILE", help="instead: take over a public key made elsewhere"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        out, public = options["out"], options["public"]
        if (out is None) == (public is None):
            raise CommandError("Give either --out DIR or --public FILE.")
        try:
            pem = self._make(out) if out else _read(public)
            fingerprint = install_public_key(pem, actor=self.actor)
            signer = tell_signer_into(out / SIGNERS) if out else tell_signer()
        except (RebuildRefused, KeyFault) as fault:
            raise CommandError(str(fault)) from None
        except OSError as fault:
            raise CommandError(f"{out or public}: {(fault.strerror or 'cannot be used').lower()}.") from None
        self.stdout.write(f"The platform's backups are sealed to this key from now on: {fingerprint}")
        self.stdout.write(f"The platform signs them with its own key: {signer}")
        if out:
            self.stdout.write(
                f"The private half of yours is in {out / PRIVATE}, the hash of the platform's in {out / SIGNERS}: take "
                "that directory off this host, and keep the passphrase."
            )
        else:
            self.stdout.write(f"Keep that hash with your key: `platform_signing_key --out {SIGNERS}` writes it down.")

    def _make(self, out: Path) -> bytes:
        passphrase = new_passphrase()
        if weakness := weakness_of(passphrase):
            self.stderr.write(f"warning: {weakness}")
        out.mkdir(mode=0o700, parents=True)
        key = generate()
        _write(out / PRIVATE, key.to_pem(passphrase))
        _write(out / PUBLIC, key.public.to_pem())
        return key.public.to_pem()


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE)
