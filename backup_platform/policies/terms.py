"""What a job takes over from its policy: priority, attempts, deadline, and what its machine is told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

NAMES = ("priority", "attempts", "deadline_minutes", "catch_up")
"""The settings `schedule.…` that say so."""
TOLD = ("selection", "limits", "hooks", "stdin", "privacy")
"""Of these sections the machine is told: what else a policy says is the platform's to do."""


def told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a job tells its machine."""
    return {name: value for name, value in settings.items() if name.partition(".")[0] in TOLD}


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a schedule's jobs."""

    priority: int
    attempts: int
    patience: timedelta | None
    """After so long without a beginning a job is missed; None: never."""
    catches_up: bool


@lru_cache(maxsize=4096)
def terms_of(text: str) -> Terms:
    """The terms in a JSON text of a schedule's settings; what is absent or no number gets its usual value."""
    asked: dict[str, Any] = json.loads(text)
    minutes = _number(asked, "deadline_minutes", 1, 525_600)
    return Terms(
        priority=_number(asked, "priority", -10, 10) or 0,
        attempts=_number(asked, "attempts", 1, 10) or 5,
        patience=None if minutes is None else timedelta(minutes=minutes),
        catches_up=(asked.get("catch_up") or "once") == "once",
    )


def _number(asked: dict[str, Any], name: str, lowest: int, highest: int) -> int | None:
    value = asked.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return min(max(value, lowest), highest)
