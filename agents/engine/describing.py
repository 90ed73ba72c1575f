"""Turning what lstat saw into a manifest entry: owner names, link targets, extended attributes, hard-link groups."""

from __future__ import annotations

import errno
import os
import stat
from functools import lru_cache

from blake3 import blake3

from agents.engine.paths import plain
from protocol.stored.manifests import Entry, EntryType, Extent

#: (path, mode, uid, gid, size, mtime_ns, ctime_ns, inode): a file is unchanged when all of it is what it was.
Key = tuple[bytes, int, int, int, int, int, int, int]
#: Stands for ctime_ns where the times cannot be trusted: nothing ever matches it.
UNTRUSTED = -1

#: Clocks of file systems tick in steps (the kernel's: up to 10 ms; FAT's: 2 s). A change just before the scan may carry
#: an earlier time than the one just after it was read, so anything within a step of the start is not trusted.
TICK_NS = 20_000_000
COARSE_TICK_NS = 2_000_000_000
_SECOND_NS = 1_000_000_000
#: What a manifest can hold of a time: 64 bits of nanoseconds, the years 1678 to 2262. Any user can set others.
_LEAST_TIME, _GREATEST_TIME = -(1 << 63), (1 << 63) - 1

_FORMAT = 0o170000
_TYPES = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFCHR: EntryType.CHARACTER_DEVICE,
    stat.S_IFBLK: EntryType.BLOCK_DEVICE,
}
_FILE, _SYMLINK = EntryType.FILE, EntryType.SYMLINK
_DEVICES = frozenset({EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE})
_NO_ATTRIBUTES = frozenset({errno.ENOTSUP, errno.ENODATA, errno.ENOENT, errno.EPERM, errno.EACCES, errno.ENOSYS})
#: The kernel's own limit for all names of one file (XATTR_LIST_MAX) and a value is 64 KiB each.
MAX_ATTRIBUTES = 256 * 1024


def key_of(path: bytes, info: os.stat_result) -> Key:
    """What must not have changed for a file to count as unchanged."""
    return (
        path,
        info.st_mode,
        info.st_uid,
        info.st_gid,
        info.st_size,
        info.st_mtime_ns,
        info.st_ctime_ns,
        info.st_ino,
    )


def trusted_key(key: Key, started_ns: int) -> Key:
    """The key to remember: one that never matches when the file's times are not safely older than the scan."""
    modified, changed, old = key[5], key[6], started_ns - COARSE_TICK_NS
    if _LEAST_TIME <= modified < old and _LEAST_TIME <= changed < old:
        return key
    coarse = key[5] % _SECOND_NS == 0 and key[6] % _SECOND_NS == 0
    is_old = max(key[5], key[6]) < started_ns - (COARSE_TICK_NS if coarse else TICK_NS)
    if is_old and min(key[5], key[6]) >= _LEAST_TIME:
        return key
    return (*key[:5], bounded_time(key[5]), UNTRUSTED, key[7])


def bounded_time(nanoseconds: int) -> int:
    """The time, or the nearest one that a manifest can hold."""
    return min(max(nanoseconds, _LEAST_TIME), _GREATEST_TIME)


def type_of(info: os.stat_result) -> EntryType | None:
    """What kind of entry this is; None for what no format of ours knows (doors, whiteouts)."""
    return _TYPES.get(info.st_mode & _FORMAT)


class Describer:
    """Makes entries. One thread uses it."""

    def __init__(self) -> None:
        self._without_attributes: set[int] = set()

    def entry(
        self,
        path: bytes,
        name: bytes,
        directory: int,
        info: os.stat_result,
        kind: EntryType,
        *,
        opened: int = -1,
        size: int = 0,
        extents: list[Extent] | None = None,
        digest: bytes = b"",
        sparse: list[tuple[int, int]] | None = None,
        part: int = 0,
        last: bool = True,
    ) -> Entry:
        """The entry of a path; `opened` is its descriptor if it is open. OSError when a link cannot be read."""
        mtime = info.st_mtime_ns
        return Entry(
            path,
            kind,
            stat.S_IMODE(info.st_mode),
            info.st_uid,
            info.st_gid,
            user_name(info.st_uid),
            group_name(info.st_gid),
            size,
            mtime if _LEAST_TIME <= mtime <= _GREATEST_TIME else bounded_time(mtime),
            [] if extents is None else extents,
            digest,
            os.readlink(name, dir_fd=directory) if kind == _SYMLINK else b"",
            info.st_rdev if kind in _DEVICES else 0,
            link_group(info) if info.st_nlink > 1 and kind == _FILE else 0,
            self._attributes(name, directory, info.st_dev, opened),
            sparse or [],
            part,
            last,
        )

    def _attributes(self, name: bytes, directory: int, device: int, opened: int) -> list[tuple[bytes, bytes]]:
        if device in self._without_attributes:
            return []
        # There is no listxattr relative to a descriptor; /proc offers the same without walking the path again.
        target: int | bytes = opened if opened >= 0 else b"/proc/self/fd/%d/%s" % (directory, name)
        follow = opened >= 0
        try:
            names = os.listxattr(target, follow_symlinks=follow)
            if not names:
                return []
            return _bounded(
                [(os.fsencode(each), os.getxattr(target, each, follow_symlinks=follow)) for each in sorted(names)]
            )
        except OSError as fault:
            if fault.errno == errno.ENOTSUP:
                self._without_attributes.add(device)
            if fault.errno in _NO_ATTRIBUTES:
                return []
            raise


def _bounded(attributes: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    total = 0
    kept = []
    for name, value in attributes:
        total += len(name) + len(value)
        if total > MAX_ATTRIBUTES:
            break
        kept.append((name, value))
    return kept


def link_group(info: os.stat_result) -> int:
    """The number that all names of one inode share, 63 bits.

    It depends on nothing but device and inode, so that names that are described in different runs still agree.
    """
    named = info.st_dev.to_bytes(8, "big") + info.st_ino.to_bytes(8, "big")
    return int.from_bytes(blake3(named).digest()[:8], "big") >> 1 or 1


@lru_cache(maxsize=10_000)
def user_name(uid: int) -> str:
    """The user's name, "" if the system knows none."""
    import pwd

    try:
        return plain(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return ""


@lru_cache(maxsize=10_000)
def group_name(gid: int) -> str:
    """The group's name, "" if the system knows none."""
    import grp

    try:
        return plain(grp.getgrgid(gid).gr_name)
    except KeyError:
        return ""
