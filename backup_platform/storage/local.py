"""A store in a local directory.

An object appears all at once: written to a hidden file in its own folder, fsynced, linked (or renamed) to its name,
folder fsynced. Every step goes from an open directory to the next without following links, so no link that somebody
plants inside can lead out of the root. A mark in the root tells an empty store from one whose disk is not mounted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import BinaryIO

from backup_platform.storage.base import (
    COPY_SIZE,
    AlreadyThere,
    ChecksumMismatch,
    NoSpace,
    NotFound,
    Store,
    StoreUnavailable,
    check_key,
    check_prefix,
)

MARK = ".strongroom-store"
NEW_PREFIX = ".new-"
"""Before 24 hexadecimal digits: the hidden name under which an object is written."""
DIRECTORY_MODE = 0o700
OBJECT_MODE = 0o400
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}


class NotAStore(StoreUnavailable):
    """The directory does not bear a store's mark: its disk is away, or it never was one."""


class LocalStore(Store):
    """Objects as files under `root`, which must be a store already (`create` makes one)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open_root_or_fail()

    @classmethod
    def create(cls, root: Path) -> LocalStore:
        """Make a directory that is missing or empty a store; NotAStore when it holds something else."""
        with _translated("the store"):
            root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            _sync_folder(root.parent)
            names = os.listdir(root)
            if names and MARK not in names:
                raise NotAStore("The directory for the store is not empty, and is no store.")
            _write_mark(root)
        return cls(root)

    def put(
        self, key: str, data: bytes | BinaryIO, *, sha256: bytes | None = None, only_if_absent: bool = True
    ) -> None:
        with _translated(key), self._folder(key, make=True) as (folder, name):
            if only_if_absent:
                _refuse_taken(folder, name, key)
            with _temporary(folder) as (temporary, descriptor):
                digest = _write(descriptor, data, hashed=sha256 is not None)
                if sha256 is not None and digest != sha256:
                    raise ChecksumMismatch(f"{key}: the data does not have the SHA-256 that it came with.")
                os.fsync(descriptor)
                _give_name(folder, temporary, name, key, replace=not only_if_absent)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        with _translated(key), self.open(key) as file:
            file.seek(offset)
            return file.read() if length is None else file.read(length)

    def open(self, key: str) -> BinaryIO:
        with _translated(key), self._folder(key) as (folder, name):
            descriptor = os.open(name, _READ, dir_fd=folder)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise StoreUnavailable(f"{key} is not a plain file.")
            return os.fdopen(descriptor, "rb")

    def size(self, key: str) -> int:
        with self.open(key) as file:
            return os.fstat(file.fileno()).st_size

    def list(self, prefix: str = "") -> Iterator[str]:
        parts = check_prefix(prefix).split("/") if prefix else []
        yield from self._walk(parts)

    def delete(self, key: str) -> None:
        with _translated(key), self._folder(key) as (folder, name):
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)

    def delete_all(self, keys: Iterable[str]) -> None:
        """All names first and then each folder's fsync: the file system writes its journal once, not once a name."""
        folders: dict[str, None] = {}
        try:
            for key in keys:
                with suppress(NotFound), _translated(key), self._folder(key) as (folder, name):
                    folders[key.rpartition("/")[0]] = None  # also for a name that a crash left undurably gone
                    os.unlink(name, dir_fd=folder)
        finally:
            for path in folders:
                with _translated(path), self._directory([part for part in path.split("/") if part]) as folder:
                    os.fsync(folder)

    def adopt(self, key: str, path: Path) -> None:
        with _translated(key):
            source = os.open(path, _READ)
            try:
                if not stat.S_ISREG(os.fstat(source).st_mode):
                    raise StoreUnavailable(f"{key}: what should be adopted is not a plain file.")
                if not self._adopt_by_link(key, path):
                    with os.fdopen(os.dup(source), "rb") as file:
                        self.put(key, file)
            finally:
                os.close(source)

    def _adopt_by_link(self, key: str, path: Path) -> bool:
        with self._folder(key, make=True) as (folder, name):
            try:
                os.link(path, name, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as fault:
                if fault.errno in _NO_LINKS:
                    return False
                if fault.errno != errno.EEXIST:
                    raise
                os.fsync(folder)
                raise AlreadyThere(f"{key} is there already.") from None
            os.fsync(folder)
            return True

    @contextmanager
    def folder(self, prefix: str = "") -> Iterator[int]:
        """A descriptor of the folder of these keys, reached without following links: for who looks after hidden files.

        Raises NotFound, StoreUnavailable.
        """
        with (
            _translated(prefix or "the store"),
            self._directory(check_prefix(prefix).split("/") if prefix else []) as folder,
        ):
            yield folder

    def _walk(self, parts: Sequence[str], *, seen: bool = False) -> Iterator[str]:
        """A folder that is not there holds nothing; one that was seen and cannot be entered is an error."""
        name = "/".join(parts)
        try:
            with _translated(name or "the store"), self._directory(parts) as folder:
                entries = sorted((entry.name, _is_folder(entry)) for entry in os.scandir(folder))
        except NotFound:
            if seen:
                raise StoreUnavailable(f"{name} went away while it was listed.") from None
            return
        # A folder's keys stand where its name with a slash would: the order of whole keys, as object stores list them.
        for entry, is_folder in sorted(entries, key=lambda item: item[0] + "/" if item[1] else item[0]):
            if entry.startswith("."):
                continue
            if is_folder:
                yield from self._walk([*parts, entry], seen=True)
            else:
                yield "/".join([*parts, entry])

    @contextmanager
    def _folder(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        *folders, name = check_key(key).split("/")
        with self._directory(folders, make=make) as folder:
            yield folder, name

    @contextmanager
    def _directory(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        current = self._open_root_or_fail(keep=True)
        try:
            for part in parts:
                inner = _enter(current, part, make=make)
                os.close(current)
                current = inner
            yield current
        finally:
            os.close(current)

    def _open_root_or_fail(self, *, keep: bool = False) -> int:
        try:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as fault:
            raise NotAStore(f"The store's directory cannot be opened ({fault.strerror}).") from None
        try:
            os.stat(MARK, dir_fd=root, follow_symlinks=False)
        except OSError:
            os.close(root)
            raise NotAStore("The store's directory does not bear a store's mark; is its disk mounted?") from None
        if not keep:
            os.close(root)
            return -1
        return root


@contextmanager
def _translated(key: str) -> Iterator[None]:
    """Turn the operating system's errors into the store's: only ENOENT of the key itself or a folder is absence."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{key} is not there.") from None
    except OSError as fault:
        kind = NoSpace if fault.errno in _FULL else StoreUnavailable
        raise kind(f"{key}: {os.strerror(fault.errno or errno.EIO)}.") from fault


def _enter(parent: int, name: str, *, make: bool) -> int:
    made = False
    try:
        folder = os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            raise
        with suppress(FileExistsError):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)
        made = True
        folder = os.open(name, _DIRECTORY, dir_fd=parent)
    if make:
        try:
            _sync_name(parent, folder, made=made)
        except BaseException:
            os.close(folder)
            raise
    return folder


_durable: dict[tuple[int, int], None] = {}
MAX_DURABLE = 10_000


def _sync_name(parent: int, folder: int, *, made: bool) -> None:
    """Whoever made a folder may have died before its name was durable, so each process makes sure for itself, once."""
    found = os.fstat(folder)
    folder_id = (found.st_dev, found.st_ino)
    if folder_id in _durable and not made:
        return
    os.fsync(parent)
    if len(_durable) >= MAX_DURABLE:
        _durable.clear()
    _durable[folder_id] = None


@contextmanager
def _temporary(folder: int) -> Iterator[tuple[str, int]]:
    """A hidden new file, locked while it is open, and gone afterwards unless it was renamed."""
    name, descriptor = _new_file(folder)
    try:
        yield name, descriptor
    finally:
        os.close(descriptor)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)


def _new_file(folder: int) -> tuple[str, int]:
    """A file of a new name that nobody will take for a leftover (local_leftovers.py): its lock says that it is written.

    Whoever removed it in the moment before it was locked left it without a name; then another one is made.
    """
    while True:
        name = f"{NEW_PREFIX}{secrets.token_hex(12)}"
        descriptor = os.open(name, _NEW, OBJECT_MODE, dir_fd=folder)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:  # a file system without locks, where leftovers stay: none of them can be told
                return name, descriptor
            if os.fstat(descriptor).st_nlink:
                return name, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write(descriptor: int, data: bytes | BinaryIO, *, hashed: bool) -> bytes:
    digest = new_sha256()
    for piece in [data] if isinstance(data, bytes) else iter(lambda: data.read(COPY_SIZE), b""):
        if hashed:
            digest.update(piece)
        rest = memoryview(piece)
        while rest:  # a nearly full disk writes less than it was asked to
            rest = rest[os.write(descriptor, rest) :]
    return digest.digest()


def _give_name(folder: int, temporary: str, name: str, key: str, *, replace: bool) -> None:
    if replace:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    else:
        try:
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            os.fsync(folder)
            raise AlreadyThere(f"{key} is there already.") from None
    os.fsync(folder)


def _refuse_taken(folder: int, name: str, key: str) -> None:
    """Spare the writing when the name is taken; the link decides. Fsynced, as *there* means durably there."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    os.fsync(folder)
    raise AlreadyThere(f"{key} is there already.")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _write_mark(root: Path) -> None:
    descriptor = os.open(root / MARK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync_folder(root)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
