"""The directory of trial restores: one drill at a time uses it, and nothing stays there, however the last one ended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agents.errors import HomeBusy, StateFault

if TYPE_CHECKING:
    from agents.state import AgentHome

SCRATCH, LOCK = "drills", "drill.lock"


@contextmanager
def scratch(home: AgentHome) -> Iterator[Path]:
    """Yield an empty directory in the agent's home that is gone afterwards.

    Raises HomeBusy while another drill has it, StateFault when what is in it cannot be removed.
    """
    directory = home.path / SCRATCH
    with home.locked(LOCK):
        _remove(directory)
        directory.mkdir(mode=0o700)
        try:
            yield directory
        finally:
            _remove(directory)


def sweep(home: AgentHome) -> None:
    """Remove what a drill that was killed has left. Nothing, while another one is at work."""
    if not os.path.lexists(home.path / SCRATCH):
        return
    try:
        with home.locked(LOCK):
            _remove(home.path / SCRATCH)
    except HomeBusy:
        return


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if os.path.lexists(directory):
        raise StateFault(
            f"What a trial restore left in {directory} cannot be removed.",
            "Remove that directory by hand: it holds copies of this machine's own files and nothing else.",
        )
