"""What every store does, what its errors mean, and which keys there are.

Two rules above all. *Error is not absence*: `NotFound` is raised only when the store has said that a key is not there;
whatever else goes wrong is `StoreUnavailable`. *What has been put is durable*: `put` and `adopt` return after the bytes
and their name would survive a power cut.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import BinaryIO

MAX_KEY = 400
MAX_KEY_PART = 200
COPY_SIZE = 1024 * 1024
"""Bytes held at a time while something is copied."""

_PART = re.compile(r"[a-z0-9][a-z0-9._-]*")


class StoreError(Exception):
    """The family. Messages name keys, never places on the server."""


class NotFound(StoreError):
    """The store answered: there is no such key."""


class AlreadyThere(StoreError):
    """The key was put before, and is durable; nothing was changed."""


class StoreUnavailable(StoreError):
    """The store could not answer or could not do it. What was asked for may have happened or not."""

    of_the_store: str = ""
    """What is wrong with the store as such, where that is known: the message without the key that was asked for."""


class NoSpace(StoreUnavailable):
    """The store is full."""


class NotThawed(StoreUnavailable):
    """The object is there, in a cold class: it must be asked for (`thaw`) and be waited for before it can be read."""


class KeyRefused(StoreError, ValueError):
    """Not a key: it could leave the store's root or clash on some file system."""


class ChecksumMismatch(StoreError):
    """The data is not what its SHA-256 says; nothing was stored."""


def check_key(key: str) -> str:
    """Return a key that is safe in every backend; KeyRefused otherwise.

    Parts are divided by `/`, made of `a-z 0-9 . _ -`, and begin with a letter or digit: so no part is `..`, none is
    hidden, none differs from another by case only.
    """
    parts = key.split("/")
    if len(key) > MAX_KEY or any(len(part) > MAX_KEY_PART or not _PART.fullmatch(part) for part in parts):
        raise KeyRefused(f"{key[:80]!r} is not a key of a store.")
    return key


def check_prefix(prefix: str) -> str:
    """Return a listing's prefix: empty, or whole parts of a key (a folder), without a slash at the end."""
    return check_key(prefix) if prefix else prefix


def check_sha256(data: bytes, sha256: bytes | None, key: str) -> None:
    """Raise ChecksumMismatch unless the data has that SHA-256 (None: nothing to check)."""
    if sha256 is not None and sha256_of(data).digest() != sha256:
        raise ChecksumMismatch(f"{key}: the data does not have the SHA-256 that it came with.")


class Store(ABC):
    """A place for immutable objects under keys."""

    @abstractmethod
    def put(
        self, key: str, data: bytes | BinaryIO, *, sha256: bytes | None = None, only_if_absent: bool = True
    ) -> None:
        """Store bytes, or what a binary file has to read, under a key, durably and all at once.

        Raises AlreadyThere when `only_if_absent` and the key exists, ChecksumMismatch, NoSpace, StoreUnavailable.
        """

    @abstractmethod
    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes from `offset`, at most `length` (None: to the end; short at the end). Raises NotFound."""

    @abstractmethod
    def open(self, key: str) -> BinaryIO:
        """A readable, seekable file of the object; the caller closes it. Raises NotFound."""

    @abstractmethod
    def size(self, key: str) -> int:
        """The object's size in bytes. Raises NotFound."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Every key in the folder `prefix` and below, in order, fetched page by page. A folder without keys is empty.

        A listing that cannot be completed raises StoreUnavailable: it never ends early.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object, durably. Raises NotFound."""

    @abstractmethod
    def adopt(self, key: str, path: Path) -> None:
        """Store a complete, fsynced file without reading it where that is possible (a hard link), else as a copy.

        The file at `path` stays: whoever knows it there removes it after pointing readers at the key. AlreadyThere when
        the key exists.
        """

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove those of these objects that are there, durably; what is not there is fine.

        Raises StoreUnavailable when one cannot be removed: then some of the others are still there, and some are not.
        """
        for key in keys:
            with suppress(NotFound):
                self.delete(key)

    def forget_parts(self, key: str) -> None:  # noqa: B027 - most stores keep nothing apart
        """Remove what a put of this key left behind when it was killed. Nobody else may be putting it meanwhile."""

    def exists(self, key: str) -> bool:
        """Whether the key is there; StoreUnavailable when that cannot be said."""
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def put_same(self, key: str, data: bytes) -> None:
        """Store bytes under a key that may hold them already; AlreadyThere only when it holds something else."""
        try:
            self.put(key, data)
        except AlreadyThere:
            if self.get(key) != data:
                raise AlreadyThere(f"{key} holds other bytes.") from None
