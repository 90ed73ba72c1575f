"""What reading needs of a store: folders, keys with their sizes, and parts of objects.

*Error is not absence*: `Gone` says that the store answered and has no such object; whatever else goes wrong is
Unreachable, and a listing that breaks off never passes for a short one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from agents.errors import AgentError, Damage, Temporary

HEALED = re.compile(r"\.healed-[1-9](?=\.[a-z]+$)")
"""In the name of an object that took the place of a damaged one which could not be replaced itself."""


class Gone(AgentError):
    """The store has no object of this key."""


class Unreachable(Temporary):
    """The store did not answer, or refused to."""


class Frozen(Unreachable):
    """The object is whole, in a cold storage class: it must be asked for, which takes hours and costs money."""

    final = True


class Unreadable(Damage):
    """The medium does not give these bytes (a sector that cannot be read): damage of this object, and of no other."""


class ObjectStore(Protocol):
    """A place of immutable objects under keys such as `<tenant>/<vault>/roots/<snapshot>.root`."""

    @property
    def title(self) -> str:
        """The store as people name it."""
        ...

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders right under `prefix` ("" is the top), in order. Raises Unreachable."""
        ...

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every key under `prefix` with the size of its object, in any order. Raises Unreachable."""
        ...

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes from `offset`, `length` at most (None: all).

        Raises Gone, Unreadable and Unreachable (Frozen).
        """
        ...

    def thaw(self, key: str) -> None:
        """Ask cold storage for an object. Raises Unreachable, UsageFault."""
        ...


def open_store(place: str) -> ObjectStore:
    """The store at a directory or at s3://BUCKET/PREFIX. Raises UsageFault, Unreachable."""
    if place.startswith("s3://"):
        from agents.from_target.bucket import BucketStore

        return BucketStore.from_url(place)
    from agents.from_target.directory import DirectoryStore

    return DirectoryStore.at(place)
