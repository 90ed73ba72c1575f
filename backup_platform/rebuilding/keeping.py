"""Small objects on their way: read from the source, and put into the home store, which the platform serves from."""

from __future__ import annotations

from dataclasses import dataclass

from backup_platform.catalog import stores
from backup_platform.storage.base import AlreadyThere, Store

from .report import Report
from .source import Source

MAX_OBJECT = 64 * 1024 * 1024
"""No object but packs is larger."""


@dataclass
class Keeper:
    """Reads objects of the source; each is then in the home store too."""

    source: Source
    home: Store
    report: Report

    @classmethod
    def of(cls, source: Source, report: Report) -> Keeper:
        """Open the home store, made if this installation has none yet."""
        return cls(source, stores.local_target(), report)

    def take(self, key: str) -> bytes:
        """The object's bytes, now at home as well. Raises StoreError, NotFound among them."""
        data = self.source.store.get(key, 0, MAX_OBJECT)
        if not self.source.is_home:
            try:
                self.home.put_same(key, data)
            except AlreadyThere:
                self.report.fault("object", key, "The home store holds other bytes under this key; they stay.")
        return data
