"""A store in a directory. Nothing in it is written, and no link in it is followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agents.errors import UsageFault
from agents.from_target.stores import Gone, Unreachable, Unreadable

MARK = ".strongroom-store"
OF_THE_MEDIUM = {errno.EIO, errno.ENODATA, errno.EUCLEAN, errno.EBADMSG}
"""Errors of reading that speak of these bytes alone. Of a folder they would hide names: then they are no such thing."""
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class DirectoryStore:
    """Objects as files under `root`, which bears a store's mark."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def at(cls, place: str) -> DirectoryStore:
        """The store in this directory. UsageFault when it bears no mark: an unmounted disk is not an empty store."""
        root = Path(place.removeprefix("file://"))
        if not root.is_dir():
            raise UsageFault(f"The store {root} is no directory.", "Name a directory, or s3://BUCKET/PREFIX.")
        if not (root / MARK).exists():
            raise UsageFault(
                f"{root} is not a store: it holds no {MARK}.",
                "Name the directory that tenants' folders lie in, and see that its disk is mounted.",
            )
        return cls(root)

    @property
    def title(self) -> str:
        return str(self.root)

    def folders(self, prefix: str) -> list[str]:
        return sorted(entry.name for entry in self._scan(prefix) if entry.is_dir(follow_symlinks=False))

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        for entry in self._scan(prefix):
            key = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.keys(key)
            elif entry.is_file(follow_symlinks=False):
                with _translated(key):
                    size = entry.stat(follow_symlinks=False).st_size
                yield key, size

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        with _translated(key):
            descriptor = os.open(self._path(key), _FILE)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise Unreachable(f"{key} is not a plain file.")
                with _of_the_medium(key):
                    file.seek(offset)
                    return file.read() if length is None else file.read(length)

    def thaw(self, key: str) -> None:
        """Nothing in a directory is cold."""

    def _scan(self, prefix: str) -> list[os.DirEntry[str]]:
        """A folder that is not there is empty; one that cannot be read is an error."""
        try:
            with _translated(prefix or "the store"), os.scandir(self._path(prefix)) as entries:
                return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except Gone:
            return []

    def _path(self, key: str) -> Path:
        if any(part in ("", ".", "..") for part in key.split("/")) and key:
            raise Unreachable(f"'{key}' is not a key.")
        return self.root / key


@contextmanager
def _of_the_medium(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        if fault.errno not in OF_THE_MEDIUM:
            raise
        raise Unreadable(
            f"The disk does not give all of {key}.", "Copy what can be read of it, and try that."
        ) from None


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise Gone(f"{key} is not in the store.") from None
    except OSError as fault:
        why = (fault.strerror or type(fault).__name__).lower()
        raise Unreachable(
            f"{key} cannot be read: {why}.", "See that the store's disk is well, and try again."
        ) from None
