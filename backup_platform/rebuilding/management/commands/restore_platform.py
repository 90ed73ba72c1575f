"""`manage.py restore_platform --key FILE (--target NAME | --directory DIR | --s3 URL | --file FILE)`."""

from __future__ import annotations

import getpass
import io
import os
import shutil
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, cast

from django.core.management.base import CommandError

from agents.keys.faults import KeyFault
from agents.keys.rsa import PrivateKey, load_private
from backup_platform.catalog import stores
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.rebuilding.platform_backup.choosing import look, newest
from backup_platform.rebuilding.platform_backup.contents import SECRETS_KEY
from backup_platform.rebuilding.platform_backup.putting import backups_in
from backup_platform.rebuilding.platform_backup.restoring import put_in_place, unpack
from backup_platform.rebuilding.platform_backup.signers import SIGNERS, hash_of, read_signers
from backup_platform.rebuilding.platform_backup.trust import Demands, Verdict
from backup_platform.rebuilding.platform_backup.what_next import steps
from backup_platform.rebuilding.source import source_at, source_in_bucket, source_of_target
from backup_platform.storage.base import Store, StoreError
from backup_platform.tenants.commands import PASSPHRASE_VARIABLE, OperatorCommand

MAX_KEY = 16 * 1024


class Command(OperatorCommand):
    """Brings database, authority and keys of a lost platform back into a new, running, empty one."""

    help = "Restore the platform's own backup into a new installation, or unpack it with --out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        place = parser.add_mutually_exclusive_group(required=True)
        place.add_argument("--target", metavar="NAME", help="a target of the platform that is set up already")
        place.add_argument("--directory", type=Path, metavar="DIR", help="a store's directory")
        place.add_argument(
            "--s3", metavar="URL", help="s3://BUCKET/PREFIX; credentials from AWS_ACCESS_KEY_ID and so on"
        )
        place.add_argument("--file", type=Path, help="a backup that was fetched by other means")
        parser.add_argument("--endpoint", default="", metavar="URL", help="of the bucket's service; default: AWS")
        parser.add_argument("--region", default="", help="of the bucket")
        parser.add_argument("--allow-private", action="store_true", help="the endpoint may be a private address")
        parser.add_argument("--key", type=Path, metavar="FILE", help="operator-key.pem")
        parser.add_argument("--backup", default="", metavar="KEY", help="which one (default: the newest)")
        parser.add_argument("--list", action="store_true", help="only say which backups there are, and who signed them")
        parser.add_argument("--out", type=Path, metavar="DIR", help="only unpack into this new directory")
        self._add_trust(parser)

    def _add_trust(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--signers", type=Path, metavar="FILE", help=f"who may have signed it (default: {SIGNERS} beside the key)"
        )
        parser.add_argument(
            "--signer", action="append", default=[], metavar="SHA256", help="a key that may have signed it, too"
        )
        parser.add_argument(
            "--at-least", type=int, default=0, metavar="N", help="refuse a backup with a lower number than this"
        )
        parser.add_argument(
            "--unverified",
            action="store_true",
            help="take a backup that nobody vouches for: one from before they were signed, or when no signer is known",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            demands = _demands(options)
            store = None if options["file"] else self._store(options)
            if options["list"]:
                self._list(store, demands)
                return
            key = _key(options["key"])
            with self._backup(store, options, demands) as file:
                self._restore(file, key, options["out"], demands)
        except (RebuildRefused, StoreError, KeyFault) as fault:
            raise CommandError(str(fault)) from None
        except OSError as fault:
            raise CommandError(
                f"{fault.filename or 'A file'}: {(fault.strerror or 'cannot be used').lower()}."
            ) from None

    def _store(self, options: dict[str, Any]) -> Store:
        if options["target"]:
            return source_of_target(options["target"]).store
        if options["directory"]:
            return source_at(options["directory"]).store
        more = {name: options[name] for name in ("endpoint", "region", "allow_private")}
        return source_in_bucket(options["s3"], **more).store

    def _list(self, store: Store | None, demands: Demands) -> None:
        found = backups_in(store) if store is not None else []
        if store is None or not found:
            raise CommandError("There is no backup of a platform there.")
        for each in reversed(list(look(store, found))):
            self.stdout.write(f"{each.key}  {each.words(demands)}")

    def _backup(self, store: Store | None, options: dict[str, Any], demands: Demands) -> io.BufferedReader:
        if store is None:
            return cast("io.BufferedReader", options["file"].open("rb"))
        wanted = _wanted(store, options["backup"], demands)
        self.stdout.write(f"Taking {wanted}.")
        return cast("io.BufferedReader", store.open(wanted))

    def _restore(self, file: io.BufferedReader, key: PrivateKey, out: Path | None, demands: Demands) -> None:
        if out is not None:
            names = unpack(file, key, key.public.key_hash, out, demands, self._tell).names
            self.stdout.write(f"Unpacked into {out}: {', '.join(names)}.")
            return
        with tempfile.TemporaryDirectory(dir=stores.home()) as scratch:
            unpacked = Path(scratch) / "unpacked"
            made = unpack(file, key, key.public.key_hash, unpacked, demands, self._tell)
            number = put_in_place(unpacked, made, self.actor)
            sealed_apart = (unpacked / SECRETS_KEY).exists()
            shutil.rmtree(unpacked)
        self.stdout.write("The platform is back. What to do now, in this order:")
        for at, step in enumerate(steps(number, sealed_apart=sealed_apart), 1):
            self.stdout.write(f"{at}. {step}")

    def _tell(self, verdict: Verdict) -> None:
        self.stdout.write(verdict.says)
        for warning in verdict.warnings:
            self.stderr.write(warning)


def _demands(options: dict[str, Any]) -> Demands:
    """What the operator knows: his list of signers, and what he says on the command line."""
    signers: dict[bytes, int] = {}
    beside = options["key"].with_name(SIGNERS) if options["key"] else None
    if options["signers"]:
        signers = read_signers(options["signers"])
    elif beside is not None and beside.exists():
        signers = read_signers(beside)
    for text in options["signer"]:
        signers.setdefault(hash_of(text), 0)
    return Demands(signers, options["at_least"], options["unverified"])


def _wanted(store: Store, named: str, demands: Demands) -> str:
    """The key of the backup to take: the one that was named, else the newest."""
    found = backups_in(store)
    if not found or (named and named not in found):
        raise RebuildRefused("There is no such backup of a platform there; --list shows them.")
    if not named and len({key.rpartition("/")[0] for key in found}) > 1:
        raise RebuildRefused("Backups of several platforms lie there: choose one with --backup (--list shows them).")
    return named or newest(store, found, demands)


def _key(path: Path | None) -> PrivateKey:
    if path is None:
        raise RebuildRefused("Name the operator's private key with --key FILE.")
    with path.open("rb") as file:
        return load_private(file.read(MAX_KEY), _passphrase())


def _passphrase() -> str:
    if given := os.environ.get(PASSPHRASE_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise RebuildRefused(f"The key needs its passphrase: set {PASSPHRASE_VARIABLE}, or run this on a terminal.")
    return getpass.getpass("Passphrase of the operator's key: ")
