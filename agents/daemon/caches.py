"""The caches of a machine's policies: which there should be."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from agents.state import CACHE


def cache_name(policy: str) -> str:
    """The name of a policy's own cache: two policies of one machine would else forget each other's files."""
    return hashlib.sha256(policy.encode()).hexdigest()[:16] if policy else ""


def remove_others(home: Path, policies: Iterable[str]) -> None:
    """Remove the caches of policies that do not apply any more. Call it while no backup runs."""
    stem, suffix = Path(CACHE).stem, Path(CACHE).suffix
    kept = {f"{stem}-{cache_name(policy)}{suffix}" for policy in policies}
    for path in home.glob(f"{stem}-*{suffix}*"):
        if path.name.partition(suffix)[0] + suffix not in kept:
            with contextlib.suppress(OSError):
                path.unlink()
