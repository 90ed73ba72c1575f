"""Owner, mode, extended attributes and time of something that was just placed, all set through its descriptor."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.stored.manifests import Entry

MAX_NUMBER = (1 << 32) - 2
MAX_NAME = 256
"""Longer than any user name here (LOGIN_NAME_MAX). Names are remembered, and a manifest may hold some of megabytes."""
_ORDINARY = (b"user.", b"system.posix_acl_")
"""Attributes that give nobody a privilege; the others (capabilities above all) only on root's request."""


class Owners:
    """Who shall own an entry: the name if this machine knows it, else the number. None unless we are root."""

    def __init__(self, numeric: bool = False, root: bool | None = None) -> None:
        self._numeric = numeric
        self.is_root = os.geteuid() == 0 if root is None else root

    def of(self, entry: Entry) -> tuple[int, int] | None:
        """Return (uid, gid), or None when owners cannot be set. Raises OverflowError for a number out of bounds."""
        if not self.is_root:
            return None
        user, group = (entry.uid, entry.gid) if self._numeric else (_uid(entry), _gid(entry))
        if not (0 <= user <= MAX_NUMBER and 0 <= group <= MAX_NUMBER):
            raise OverflowError("owner")
        return user, group


def _uid(entry: Entry) -> int:
    known = _known_user(entry.user) if 0 < len(entry.user) <= MAX_NAME else None
    return entry.uid if known is None else known


def _gid(entry: Entry) -> int:
    known = _known_group(entry.group) if 0 < len(entry.group) <= MAX_NAME else None
    return entry.gid if known is None else known


@lru_cache(maxsize=1024)
def _known_user(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError, UnicodeError):
        return None


@lru_cache(maxsize=1024)
def _known_group(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError, UnicodeError):
        return None


class LotDresser:
    """Sets owner, time and mode of the small files of one directory, with as few calls as can be."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._born: tuple[int, int] | None = None
        self._last: tuple[int, int, str, str] | None = None
        self._owner: tuple[int, int] | None = None

    def dress(self, file: int, entry: Entry) -> bool:
        """Whether all of it could be set; else `set_attributes` finds out what cannot. The mode comes last."""
        try:
            named = (entry.uid, entry.gid, entry.user, entry.group)
            if named != self._last:
                self._owner = self._owners.of(entry)
                self._last = named
            if self._owner is not None and self._owner != self._owner_at_birth(file):
                os.fchown(file, *self._owner)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
            os.fchmod(file, stat.S_IMODE(entry.mode))
        except (OSError, OverflowError, ValueError):
            return False
        return True

    def _owner_at_birth(self, file: int) -> tuple[int, int]:
        """Whose a new file in this directory is before anything is set: the directory has a say in it."""
        if self._born is None:
            info = os.fstat(file)
            self._born = (info.st_uid, info.st_gid)
        return self._born


def set_attributes(descriptor: int, entry: Entry, owners: Owners, *, keep_setuid: bool) -> Iterator[str]:
    """Set everything that can be set; yield one sentence for each thing that cannot.

    The owner comes first, because changing it clears setuid bits; attributes before the mode, which may forbid to set
    them; the time last, because the others change it.
    """
    privileged = keep_setuid and owners.is_root
    stripped = 0 if privileged else entry.mode & _privilege_bits(descriptor)
    if stripped:
        yield "its setuid or setgid bit was left out (--keep-setuid restores it, for root)"
    yield from _try("owner", lambda: _chown(descriptor, owners.of(entry)))
    for name, value in entry.xattrs:
        if privileged or name.startswith(_ORDINARY):
            yield from _try("an extended attribute", _setting(descriptor, name, value))
    yield from _try("mode", lambda: os.fchmod(descriptor, stat.S_IMODE(entry.mode & ~stripped)))
    yield from _try("modification time", lambda: os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns)))


def set_link_attributes(name: bytes, parent: int, entry: Entry, owners: Owners) -> Iterator[str]:
    """Set owner and time of the link `name` in the directory `parent`; yield a sentence for what cannot be set."""
    yield from _try("owner", lambda: _chown_link(name, parent, owners.of(entry)))
    times = (entry.mtime_ns, entry.mtime_ns)
    yield from _try("modification time", lambda: os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False))


def _chown_link(name: bytes, parent: int, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.chown(name, *owner, dir_fd=parent, follow_symlinks=False)


def _privilege_bits(descriptor: int) -> int:
    """On a directory setgid only says whose group new files get; on a file it lends the group's rights."""
    return stat.S_ISUID if stat.S_ISDIR(os.fstat(descriptor).st_mode) else stat.S_ISUID | stat.S_ISGID


def _chown(descriptor: int, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.fchown(descriptor, *owner)


def _setting(descriptor: int, name: bytes, value: bytes) -> Callable[[], None]:
    return lambda: os.setxattr(descriptor, name, value)


def _try(what: str, act: Callable[[], None]) -> Iterator[str]:
    try:
        act()
    except (OSError, OverflowError, ValueError) as fault:
        reason = os.strerror(fault.errno).lower() if isinstance(fault, OSError) and fault.errno else "out of bounds"
        yield f"its {what} could not be set ({reason})"
