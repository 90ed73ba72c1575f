"""Who is at the other end of a connection, as handlers see it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from uuid import UUID

from backup_platform.catalog.models import Snapshot


@dataclass(frozen=True, slots=True)
class Caller:
    """A machine that was recognised by its certificate's key. `identity_hash` is SHA-256 of the key's SPKI."""

    machine_id: UUID
    tenant_id: UUID
    vault_id: UUID
    vault_number: int
    name: str
    identity_hash: bytes
    write_only: bool


REMEMBERED_SECONDS = 1.0


class RecentSnapshot:
    """The snapshot that a connection last read, for a second: its row does not change but for its state."""

    def __init__(self) -> None:
        self._id = b""
        self._snapshot: Snapshot | None = None
        self._at = 0.0

    def get(self, snapshot_id: bytes) -> Snapshot | None:
        """The row, if it is this one and was looked up within the last second."""
        fresh = time.monotonic() - self._at < REMEMBERED_SECONDS
        return self._snapshot if fresh and snapshot_id == self._id else None

    def keep(self, snapshot_id: bytes, snapshot: Snapshot) -> None:
        """Remember this one, and no other."""
        self._id, self._snapshot, self._at = snapshot_id, snapshot, time.monotonic()


@dataclass(slots=True)
class Scope:
    """Which machines' snapshots this connection may read: its own, unless write-only, and those proved with the kit."""

    caller: Caller
    proved: dict[str, UUID] = field(default_factory=dict)
    recent: RecentSnapshot = field(default_factory=RecentSnapshot)

    def readable(self) -> set[UUID]:
        """The ids of those machines."""
        own = set() if self.caller.write_only else {self.caller.machine_id}
        return own | set(self.proved.values())
