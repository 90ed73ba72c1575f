"""A disk whose power fails, or that is full, at any one call: beneath everything that a process does with its files.

Where `forgetful_files.py` stands in for the spool's file layer, this watches the calls of `os` themselves, as far as
they are about one directory: so it covers the stores, placing, compaction and unlinking too.

    disk = ForgetfulDisk(root, allowed=17, keeps=Keeps.REMOVALS)
    with disk.watched(): …                                    # the 18th call that changes something raises PowerCut
    disk.cut()                                                # the directory is now as the disk may be found

Committed rows are on another disk and survive; after the cut no statement reaches the database any more.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any
from unittest.mock import patch

from django.db import connection

WATCHED = ("open", "write", "writev", "fsync", "fdatasync", "link", "rename", "unlink", "mkdir")
MAY_END = ("ROLLBACK TO SAVEPOINT", "RELEASE SAVEPOINT", "SELECT PG_ADVISORY_UNLOCK")
"""What the server does by itself when a session dies, and Django does for it here."""


class PowerCut(BaseException):
    """The machine is without power: nothing after this is done."""


class Keeps(StrEnum):
    """What a disk that lost its power shows of changes to names that no directory's fsync had made safe."""

    NOTHING = "nothing"
    """Each was undone: what was made is away, what was removed is back."""
    REMOVALS = "removals"
    """What was made is away, what was removed is away too: the worst that can happen to data."""
    NAMES = "names"
    """All are done, and the bytes behind them are not."""


class WatchedDisk:
    """Counts the calls that change something beneath `root`, and gives a word on each."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0
        self._real = {name: getattr(os, name) for name in WATCHED}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the calls of this process."""
        with patch.multiple(os, **{name: getattr(self, f"_{name}") for name in WATCHED}):
            yield

    def before(self, name: str, path: Path) -> None:
        """Called before each change; what it raises is what the change comes to."""
        self.calls += 1

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        where = self._where(path, dir_fd)
        makes = where is not None and flags & os.O_CREAT and not os.path.lexists(where)
        if makes:
            self.before("create", where)
        descriptor = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        if makes:
            self.created(descriptor, where)
        return int(descriptor)

    def _write(self, fd: int, data: Any) -> int:
        self._spend_for("write", fd)
        return int(self._real["write"](fd, data))

    def _writev(self, fd: int, buffers: Any) -> int:
        self._spend_for("write", fd)
        return int(self._real["writev"](fd, buffers))

    def _fsync(self, fd: int) -> None:
        where = self._spend_for("fsync", fd)
        self._real["fsync"](fd)
        if where is not None:
            self.synced(fd, where)

    def _fdatasync(self, fd: int) -> None:
        where = self._spend_for("fsync", fd)
        self._real["fdatasync"](fd)
        if where is not None:
            self.synced(fd, where)

    def _link(self, source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None,
              follow_symlinks: bool = True) -> None:  # fmt: skip
        where = self._where(target, dst_dir_fd)
        if where is not None:
            self.before("link", where)
        self._real["link"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd,
                           follow_symlinks=follow_symlinks)  # fmt: skip
        if where is not None:
            self.named(where)

    def _rename(self, source: Any, target: Any, *, src_dir_fd: int | None = None,
                dst_dir_fd: int | None = None) -> None:  # fmt: skip
        before, after = self._where(source, src_dir_fd), self._where(target, dst_dir_fd)
        if after is not None:
            self.before("rename", after)
        self._real["rename"](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if before is not None and after is not None:
            self.moved(before, after)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        where = self._where(path, dir_fd)
        if where is None or not os.path.lexists(where):
            self._real["unlink"](path, dir_fd=dir_fd)
            return
        self.before("unlink", where)
        self.removed(where)
        self._real["unlink"](path, dir_fd=dir_fd)

    def _mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        where = self._where(path, dir_fd)
        if where is not None and not os.path.lexists(where):
            self.before("mkdir", where)
        self._real["mkdir"](path, mode, dir_fd=dir_fd)
        if where is not None:
            self.named(where)

    def created(self, descriptor: int, path: Path) -> None:
        """A new file."""

    def named(self, path: Path) -> None:
        """A new name."""

    def moved(self, before: Path, after: Path) -> None:
        """A name was changed."""

    def removed(self, path: Path) -> None:
        """A name is about to go."""

    def synced(self, descriptor: int, path: Path) -> None:
        """A file's bytes, or a directory's names, are safe."""

    def _spend_for(self, name: str, fd: int) -> Path | None:
        where = self._where_of(fd)
        if where is not None:
            self.before(f"{name} of a directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else name, where)
        return where

    def _where(self, path: Any, dir_fd: int | None) -> Path | None:
        base = os.readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd()
        return self._inside(os.path.join(base, os.fsdecode(path)))

    def _where_of(self, fd: int) -> Path | None:
        return self._inside(os.readlink(f"/proc/self/fd/{fd}"))

    def _inside(self, path: str) -> Path | None:
        found = Path(path)
        return found if found.is_relative_to(self.root) else None


class FailingDisk(WatchedDisk):
    """Without power after `allowed` calls."""

    def __init__(self, root: Path, allowed: int) -> None:
        super().__init__(root)
        self.allowed = allowed
        self.is_cut = False

    def before(self, name: str, path: Path) -> None:
        if not self.is_cut and self.calls >= self.allowed:
            self.is_cut = True
            self.power_fails()
        if self.is_cut:
            raise PowerCut(f"before {name}: {path.name}")
        super().before(name, path)

    @contextmanager
    def watched(self) -> Iterator[None]:
        with connection.execute_wrapper(self._statement), super().watched():
            yield

    def power_fails(self) -> None:
        """The very moment."""

    def cut(self) -> None:
        """Bring the directory to a state in which the disk may be found."""
        raise NotImplementedError

    def _statement(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if self.is_cut and not str(sql).upper().startswith(MAY_END):
            raise PowerCut("before a statement")
        return execute(sql, params, many, context)


class ForgetfulDisk(FailingDisk):
    """Forgets what was not fsynced: bytes written since; as `keeps` says, names made, changed and removed since."""

    def __init__(self, root: Path, allowed: int, keeps: Keeps = Keeps.NOTHING) -> None:
        super().__init__(root, allowed)
        self.keeps = keeps
        self._graves = root.with_name(f"{root.name}-graves")
        self._safe: dict[tuple[int, int], int] = {}
        """How many bytes of each new file are safe, by its device and inode."""
        self._pending: list[tuple[Path, Callable[[], None]]] = []
        """Changes of names that are not safe: where, and what undoes each."""

    def created(self, descriptor: int, path: Path) -> None:
        self._safe[_inode(os.fstat(descriptor))] = 0
        self.named(path)

    def named(self, path: Path) -> None:
        if self.keeps is not Keeps.NAMES:
            self._pending.append((path, lambda: _remove(path)))

    def moved(self, before: Path, after: Path) -> None:
        if self.keeps is not Keeps.NAMES:
            self._pending.append((after, lambda: after.rename(before) if after.exists() else None))

    def removed(self, path: Path) -> None:
        found = path.lstat()
        if self.keeps is not Keeps.NOTHING:
            if found.st_nlink == 1:  # its number may be another file's soon
                self._safe.pop(_inode(found), None)
        else:
            self._graves.mkdir(exist_ok=True)
            grave = self._graves / str(len(list(self._graves.iterdir())))
            self._real["link"](path, grave)
            self._pending.append((path, lambda: None if path.exists() else grave.rename(path)))

    def synced(self, descriptor: int, path: Path) -> None:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            self._pending = [one for one in self._pending if one[0].parent != path]
        elif _inode(found) in self._safe:
            self._safe[_inode(found)] = found.st_size

    def cut(self) -> None:
        for _, undo in reversed(self._pending):
            undo()
        for path in self.root.rglob("*"):
            found = path.lstat()
            safe = self._safe.get(_inode(found))
            if stat.S_ISREG(found.st_mode) and safe is not None and found.st_size > safe:
                path.chmod(0o600)
                os.truncate(path, safe)
                path.chmod(stat.S_IMODE(found.st_mode))
        shutil.rmtree(self._graves, ignore_errors=True)


class FullDisk(WatchedDisk):
    """Has no room after `allowed` calls, until `there_is_room`: what needs some is refused, the rest goes on."""

    NEEDS_ROOM = frozenset({"create", "write", "link", "rename", "mkdir", "fsync"})

    def __init__(self, root: Path, allowed: int) -> None:
        super().__init__(root)
        self.allowed = allowed
        self.refused = 0
        self.there_is_room = False

    def before(self, name: str, path: Path) -> None:
        if self.calls >= self.allowed and not self.there_is_room and name in self.NEEDS_ROOM:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().before(name, path)


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
