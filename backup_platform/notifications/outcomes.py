"""How an attempt to send something ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Outcome:
    """Delivered, or why not, in a sentence that holds no address and no secret.

    `final`: trying again is no use. `gone`: the receiver says that it does not want any more, so the channel pauses.
    """

    ok: bool
    fault: str = ""
    final: bool = False
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """What a sender needs of a channel: its secrets are here and nowhere else, and never shown."""

    channel_id: UUID
    kind: str
    name: str
    settings: dict[str, Any]
    secrets: dict[str, Any] = field(repr=False)


DELIVERED = Outcome(ok=True)
