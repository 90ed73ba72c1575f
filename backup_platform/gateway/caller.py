"""Who is at the other end of a connection, as handlers see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID


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


@dataclass(slots=True)
class Scope:
    """Which machines' snapshots this connection may read: its own, unless write-only, and those proved with the kit."""

    caller: Caller
    proved: dict[str, UUID] = field(default_factory=dict)

    def readable(self) -> set[UUID]:
        """The ids of those machines."""
        own = set() if self.caller.write_only else {self.caller.machine_id}
        return own | set(self.proved.values())
