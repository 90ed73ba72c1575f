"""The home's two locks: one `up` at a time, and no new one while a process of the last one is still ending."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path
from typing import IO

from backup_platform.embedded.errors import AlreadyRunning

LOCK, CHILDREN_LOCK = "lock", "children.lock"
PREDECESSOR_SECONDS = 90
PROBE_SECONDS = 0.5  # a command that asks whether somebody runs (is_locked) holds the lock for an instant


def lock_home(path: Path) -> IO[str]:
    """The home's lock, held until the returned file is closed. Raises AlreadyRunning if another process has it."""
    handle = (path / LOCK).open("a+", encoding="ascii")
    deadline = time.monotonic() + PROBE_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                handle.seek(0)
                holder = handle.read(20).strip() or "unknown"
                handle.close()
                raise AlreadyRunning(
                    f"Strongroom already runs in {path} (process {holder}).",
                    "Stop that one first, or set STRONGROOM_HOME to another directory.",
                ) from None
            time.sleep(0.02)
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


async def wait_for_predecessors(path: Path, seconds: float = PREDECESSOR_SECONDS) -> IO[str]:
    """A lock that every child of `up` inherits, held until this file is closed *and* the last of them has ended.

    Had an earlier `up` been killed, its servers may still be ending. Two Valkeys on one file, or two workers with one
    name, would be worse than waiting. Raises AlreadyRunning if they do not end within SECONDS.
    """
    handle = (path / CHILDREN_LOCK).open("a", encoding="ascii")
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                handle.close()
                raise AlreadyRunning(
                    f"Processes of an earlier `up` still run in {path}.", f"`fuser {path / CHILDREN_LOCK}` names them."
                ) from None
            await asyncio.sleep(0.1)
        else:
            return handle


def is_locked(path: Path) -> bool:
    """Whether a running `up` holds the home at PATH."""
    try:
        with (path / LOCK).open("r", encoding="ascii") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
