"""Names for what a store knows by ids alone: given by whoever can read them, else made of the ids.

A file of JSON lines: what `strongroom snapshots --from-target … --kit … --json` prints names the machines, and lines
such as `{"tenant_id": "…", "tenant": "acme"}` name tenants and vaults.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from .errors import RebuildRefused

MAX_FILE = 256 * 1024 * 1024
KINDS = ("tenant", "vault", "machine")
LONGEST = {"tenant": 63, "vault": 100, "machine": 255}


@dataclass
class Names:
    """Names by kind and id."""

    known: dict[tuple[str, UUID], str] = field(default_factory=dict)

    def of(self, kind: str, identity: UUID) -> str:
        """The name that was given, or the kind and the id's first digits."""
        return self.known.get((kind, identity)) or f"{kind}-{identity.hex[:8]}"

    @classmethod
    def read(cls, path: Path) -> Names:
        """Read a file of names. RebuildRefused when it cannot be read."""
        names = cls()
        try:
            if path.stat().st_size > MAX_FILE:
                raise ValueError
            for line in path.read_text(encoding="utf-8").splitlines():
                names._take(json.loads(line))
        except OSError as fault:
            raise RebuildRefused(f"The names in {path} cannot be read: {fault.strerror}.") from None
        except (ValueError, TypeError, AttributeError):
            raise RebuildRefused(
                f"{path} is no file of names: it has a JSON object on each line, such as "
                '{"machine_id": "32 digits", "machine": "db1"}.'
            ) from None
        return names

    def _take(self, line: dict[str, object]) -> None:
        for kind in KINDS:
            identity, name = line.get(f"{kind}_id"), line.get(kind)
            if isinstance(identity, str) and isinstance(name, str) and name.strip():
                self.known.setdefault((kind, UUID(identity)), name.strip()[: LONGEST[kind]])
