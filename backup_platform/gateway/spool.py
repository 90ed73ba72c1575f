"""A gateway's spool: its own directory of arriving packs, under an exclusive lock for the life of the process.

Whoever holds the lock of a spool may finish its open packs; that is how a gateway that starts takes over what a dead
one left. Sealed packs are read and moved by workers without the lock: their files never change.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_platform.gateway.file_layer import FileLayer

LOCK_NAME = "lock"
OPEN, NEW, SEALED, SET_ASIDE = ".open", ".new", ".pack", ".damaged"


@dataclass(slots=True)
class Spool:
    """A locked spool directory; `name` stands in the rows of its packs."""

    root: Path
    name: str
    lock: int

    @property
    def directory(self) -> Path:
        """Where its packs are."""
        return self.root / self.name

    def release(self) -> None:
        """Give up the lock; the directory stays."""
        lock, self.lock = self.lock, -1
        if lock >= 0:
            os.close(lock)


def spool_root(home: Path) -> Path:
    """Where the spools of this host are."""
    return home / "spool"


def create_spool(root: Path, files: FileLayer) -> Spool:
    """A new, empty spool, locked, its name durable."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"spool-{secrets.token_hex(6)}"
    (root / name).mkdir(mode=0o700)
    files.fsync_directory(root)
    files.fsync_directory(root.parent)
    spool = try_spool(root, name)
    if spool is None:
        raise OSError(f"another process locked the new spool {name}")
    return spool


def try_spool(root: Path, name: str) -> Spool | None:
    """The spool `name`, locked, or None when a living gateway holds it."""
    lock = os.open(root / name / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return Spool(root, name, lock)


def orphan_spools(root: Path) -> Iterator[Spool]:
    """Every spool under `root` that no living gateway holds, locked for the caller, in order of name."""
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name.startswith("spool-"):
            spool = try_spool(root, path.name)
            if spool is not None:
                yield spool
