"""What every contender can do, so that the runner need not know whom it measures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol

from benchmarks.measuring import Sample

STEPS = ("full", "unchanged", "delta", "restore", "check")


class Contender(Protocol):
    """One backup program with an empty store of its own, from `open` to `close`."""

    name: str

    def open(self) -> None:
        """Make the empty store and start what serves it. Not measured."""

    def backup(self, source: Path) -> Sample:
        """Back SOURCE up."""

    def restore(self, target: Path) -> Sample:
        """Restore the newest snapshot below the empty directory TARGET."""

    def restored(self, target: Path, source: Path) -> Path:
        """Where `restore` put SOURCE below TARGET."""

    def check(self) -> Sample:
        """Have every stored byte read and judged."""

    def size(self) -> float:
        """MiB in the store."""

    def close(self) -> None:
        """Stop everything and remove the store."""


def fresh_directory(path: Path) -> Path:
    """An empty directory that the servers' unprivileged account can enter."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o755)
    return path
