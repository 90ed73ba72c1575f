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
from backup_platform.rebuilding.platform_backup.putting import backups_in
from backup_platform.rebuilding.platform_backup.restoring import put_in_place, unpack
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
        parser.add_argument("--list", action="store_true", help="only say which backups there are")
        parser.add_argument("--out", type=Path, metavar="DIR", help="only unpack into this new directory")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            store = None if options["file"] else self._store(options)
            if options["list"]:
                self._list(store)
                return
            key = _key(options["key"])
            with self._backup(store, options) as file:
                self._restore(file, key, options["out"])
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

    def _list(self, store: Store | None) -> None:
        found = backups_in(store) if store is not None else []
        for key in found:
            self.stdout.write(key)
        if not found:
            raise CommandError("There is no backup of a platform there.")

    def _backup(self, store: Store | None, options: dict[str, Any]) -> io.BufferedReader:
        if store is None:
            return cast("io.BufferedReader", options["file"].open("rb"))
        found = backups_in(store)
        wanted = options["backup"] or (found[-1] if found else "")
        if wanted not in found:
            raise RebuildRefused("There is no such backup of a platform there; --list shows them.")
        if not options["backup"] and len({key.rpartition("/")[0] for key in found}) > 1:
            raise RebuildRefused(
                "Backups of several platforms lie there: choose one with --backup (--list shows them)."
            )
        self.stdout.write(f"Taking {wanted}.")
        return cast("io.BufferedReader", store.open(wanted))

    def _restore(self, file: io.BufferedReader, key: PrivateKey, out: Path | None) -> None:
        if out is not None:
            names = unpack(file, key, key.public.key_hash, out)
            self.stdout.write(f"Unpacked into {out}: {', '.join(names)}.")
            return
        with tempfile.TemporaryDirectory(dir=stores.home()) as scratch:
            unpacked = Path(scratch) / "unpacked"
            unpack(file, key, key.public.key_hash, unpacked)
            put_in_place(unpacked, self.actor)
            shutil.rmtree(unpacked)
        self.stdout.write(
            "The platform is back. Stop it and start it again now: its processes still have the new installation's "
            "keys. Then `rebuild_catalog` adds what came after this backup."
        )


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
