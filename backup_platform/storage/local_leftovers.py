"""Hidden files that a power cut left in a local store: what was being written then, and never got its name.

Nothing refers to them, so they only take room. A writer holds a lock on its file until the object has its name, and the
kernel lets go of a dead one's; so a file whose lock can be had, and that nobody touched for a day, belongs to nobody.
The age is for stores that several hosts write to over a network, where one may not see the other's locks.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backup_platform.storage.base import NotFound
from backup_platform.storage.local import NEW_PREFIX, LocalStore

OLD_SECONDS = 24 * 3600.0
_LEFTOVER = re.compile(re.escape(NEW_PREFIX) + r"[0-9a-f]{24}")
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(slots=True)
class Leftovers:
    """What was removed. `bytes` counts files that had no other name: the others took no room of their own."""

    files: int = 0
    bytes: int = 0


def remove_leftovers(
    store: LocalStore,
    prefix: str,
    done: Leftovers,
    *,
    now: float | None = None,
    heartbeat: Callable[[], object] = bool,
) -> None:
    """Remove the leftovers in the folder of these keys and below, and count them in `done`.

    `now` is a time of the clock, in seconds. `heartbeat` is called for each folder, and may raise to stop. Raises
    StoreUnavailable where a folder cannot be read; what was removed before stays removed, and doing it again goes on.
    """
    moment = time.time() if now is None else now
    waiting = [prefix]
    while waiting:
        here = waiting.pop()
        heartbeat()
        try:
            with store.folder(here) as folder:
                waiting += [f"{here}/{name}" if here else name for name in _tidy(folder, moment, done)]
        except NotFound:
            continue  # removed meanwhile, and what was in it as well


def _tidy(folder: int, now: float, done: Leftovers) -> list[str]:
    """Remove a folder's leftovers; the names of the folders in it."""
    inner: list[str] = []
    before = done.files
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry.name)
            elif _LEFTOVER.fullmatch(entry.name):
                _remove(folder, entry.name, now, done)
    if done.files > before:
        os.fsync(folder)
    return [name for name in inner if not name.startswith(".")]


def _remove(folder: int, name: str, now: float, done: Leftovers) -> None:
    with _opened(folder, name) as descriptor:
        if descriptor is None:
            return
        seen = os.fstat(descriptor)
        touched = max(seen.st_mtime, seen.st_ctime)
        if not stat.S_ISREG(seen.st_mode) or now - touched < OLD_SECONDS or not _is_nobodys(descriptor):
            return
        os.unlink(name, dir_fd=folder)
        done.files += 1
        done.bytes += seen.st_size if seen.st_nlink == 1 else 0


def _is_nobodys(descriptor: int) -> bool:
    """Whether the writer's lock can be had. Where it cannot be asked for, somebody may be writing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return bool(os.fstat(descriptor).st_nlink)


@contextmanager
def _opened(folder: int, name: str) -> Iterator[int | None]:
    """The file; None for one that has gone, and for a link."""
    try:
        descriptor = os.open(name, _LOOK, dir_fd=folder)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
