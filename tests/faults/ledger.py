"""The external ledger of acknowledgements: what an agent was told is durable, kept outside of the platform.

One JSON object a line, fsynced before the agent's own code hears of the acknowledgement. After any fault, everything
in it must read back.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Acknowledged:
    """A record that the gateway called durable. Hexadecimal; `when` in seconds since the epoch."""

    kind: int
    id: str
    digest: str
    length: int
    when: float


class Ledger:
    """An append-only file of acknowledgements; a torn last line (its writer was killed) says nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, lines: Iterable[dict[str, object]]) -> None:
        # A writer that was killed may have left a torn line: each line brings its own beginning.
        text = "".join("\n" + json.dumps({**line, "when": time.time()}) for line in lines)
        if not text:
            return
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, text.encode())
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self) -> list[dict[str, object]]:
        if not self.path.exists():
            return []
        return [found for line in self.path.read_text().split("\n") if (found := _parsed(line)) is not None]

    def records(self) -> list[Acknowledged]:
        return [Acknowledged(**line) for line in self.lines() if "id" in line]

    def snapshots(self) -> list[str]:
        return [str(line["snapshot"]) for line in self.lines() if "snapshot" in line]

    @property
    def bytes(self) -> int:
        return sum(record.length for record in self.records())


def _parsed(line: str) -> dict[str, object] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
