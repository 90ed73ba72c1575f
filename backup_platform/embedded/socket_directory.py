"""A short, private directory for the servers' unix sockets.

The address of a unix socket has room for 107 bytes, so sockets cannot stand in a home with a long name. The directory
is made fresh for each start (mkdtemp: unguessable, 0700) and given to the account that runs the servers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from backup_platform.embedded.durable_files import write_private
from backup_platform.embedded.errors import HomeUnusable
from backup_platform.embedded.server_account import ServerAccount

SOCKET_ADDRESS_BYTES = 107
# PostgreSQL's `.s.PGSQL.5432.lock` is the longest name that appears in the directory.
LONGEST_NAME = len("/.s.PGSQL.5432.lock")
PREFIX = "strongroom-"


def make_socket_directory(account: ServerAccount) -> Path:
    """A fresh 0700 directory owned by ACCOUNT, short enough for every socket in it."""
    for parent in _candidates():
        try:
            directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError:
            continue
        if len(os.fsencode(directory)) + LONGEST_NAME <= SOCKET_ADDRESS_BYTES and account.can_enter(parent):
            account.own(directory)
            return directory
        directory.rmdir()
    raise HomeUnusable(
        "No short directory for unix sockets can be made (tried TMPDIR, /tmp, /var/tmp and /run).",
        "Set TMPDIR to a writable directory with a short path.",
    )


def _candidates() -> list[Path]:
    return [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"), Path("/run")]  # noqa: S108 mkdtemp is the point


def remember_socket_directory(note: Path, directory: Path) -> None:
    """Remove the directory that a killed predecessor wrote to NOTE, and write this one there."""
    try:
        left = Path(note.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        left = directory
    if left != directory and left.is_dir() and left.stat().st_uid == directory.stat().st_uid:
        remove_socket_directory(left)
    write_private(note, f"{directory}\n")


def remove_socket_directory(directory: Path) -> None:
    """Remove what `make_socket_directory` made, and nothing else."""
    if directory.name.startswith(PREFIX):
        shutil.rmtree(directory, ignore_errors=True)
