"""Small objects on their way: read from the source, and put into the home store, which the platform serves from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from backup_platform.catalog import stores
from backup_platform.storage.base import AlreadyThere, NotFound, Store

from .report import Report
from .source import Source

MAX_OBJECT = 64 * 1024 * 1024
"""No object but packs is larger."""


Right = Callable[[bytes], bool]


@dataclass
class Keeper:
    """Reads objects of the source; each is then in the home store too. `healed`: what stands in for damaged ones."""

    source: Source
    home: Store
    report: Report
    healed: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Source, report: Report, healed: dict[str, list[str]]) -> Keeper:
        """Open the home store, made if this installation has none yet."""
        return cls(source, stores.local_target(), report, healed)

    def take(self, key: str, right: Right = lambda data: True) -> bytes:
        """The object's bytes, now at home as well; one that stands in for it if it is missing or not `right`.

        Raises StoreError, NotFound among them. What is right nowhere comes as it is.
        """
        data = self._read(key, right)
        if not self.source.is_home:
            try:
                self.home.put_same(key, data)
            except AlreadyThere:
                self.report.fault("object", key, "The home store holds other bytes under this key; they stay.")
        return data

    def keys(self, key: str) -> list[str]:
        """Every key under which the object may lie, the usual one first.

        Of recipient records the usual one last: nothing here can tell a damaged key in them, and what stands in for
        them was written because they were damaged.
        """
        keys = [key, *sorted(self.healed.get(key, []))]
        return keys[::-1] if key.endswith(".recipients") else keys

    def _read(self, key: str, right: Right) -> bytes:
        first: bytes | None = None
        missing: NotFound | None = None
        for each in self.keys(key):
            try:
                data = self.source.store.get(each, 0, MAX_OBJECT)
            except NotFound as fault:
                missing = missing or fault
                continue
            if right(data):
                return data
            first = data if first is None else first
        if first is None:
            raise missing or NotFound(f"{key} is not there.")
        return first
