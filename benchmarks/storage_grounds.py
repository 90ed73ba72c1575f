"""What the parts of `make bench-storage` stand on: one ground at a time, kept while the next part wants the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TypeVar

from benchmarks.storage_cells import own_directory
from benchmarks.storage_counted import Counted
from benchmarks.storage_stored import Stored

Ground = TypeVar("Ground", Counted, Stored)


class Grounds:
    """Places to measure in, below `work`. `runs`: how often what can be repeated is, for a median."""

    def __init__(self, work: Path, scale: float, runs: int, peer: str) -> None:
        """`peer`: the name of the other program where a part has one, or ""."""
        self.work, self.scale, self.runs, self.peer = work, scale, runs, peer
        self.notes: list[str] = []
        self._ground: Counted | Stored | None = None

    def counted(self) -> Counted:
        """A catalogue with millions of rows that no pack stands behind."""
        return self._on(Counted)

    def stored(self) -> Stored:
        """A store with real packs of real backups."""
        return self._on(Stored)

    def directory(self, name: str) -> Path:
        """An empty directory for a part that brings everything itself; nothing else runs."""
        self.close()
        return own_directory(self.work / name)

    def close(self) -> None:
        """Stop what runs, and remove it."""
        if self._ground is not None:
            ground, self._ground = self._ground, None
            ground.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def _on(self, kind: type[Ground]) -> Ground:
        if not isinstance(self._ground, kind):
            self.close()
            self._ground = kind(own_directory(self.work / kind.__name__.lower()), self.scale)
            self._ground.open()
        return self._ground
