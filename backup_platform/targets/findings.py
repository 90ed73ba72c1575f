"""What a probe found out, step by step: shown to people, and kept as a target's flags."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from backup_platform.storage.base import StoreUnavailable

NEEDED = ("write", "read", "range", "absence", "list", "delete")
"""Without one of these a target cannot be used at all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was tried, whether it went as it should, and what that means."""

    step: str
    good: bool
    words: str


@dataclass(slots=True)
class Report:
    """All steps of one probe, and the figures that go into the flags beside them."""

    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 180.0
    """How long the probe may take in all. A good service needs a few seconds, a far and busy one some twenty."""
    _began: float = field(default_factory=time.monotonic)

    def check_time(self) -> None:
        """Call it before every request. Raises StoreUnavailable once the time is over."""
        if time.monotonic() - self._began > self.seconds:
            raise StoreUnavailable(
                f"It is too slow: the probe did not come to its end within {self.seconds:.0f} seconds."
            )

    def note(self, step: str, good: bool, words: str) -> bool:
        """Keep a step; whether it was good."""
        self.findings.append(Finding(step, good, words))
        return good

    def is_good(self, step: str) -> bool:
        """Whether a step was done, and went as it should each time."""
        outcomes = [found.good for found in self.findings if found.step == step]
        return bool(outcomes) and all(outcomes)

    @property
    def usable(self) -> bool:
        """Whether packs may be kept there."""
        return all(self.is_good(step) for step in NEEDED)

    @property
    def fault(self) -> str:
        """The first needed step that failed, in words; "" when all were good."""
        bad = (found.words for found in self.findings if found.step in NEEDED and not found.good)
        return "" if self.usable else next(bad, "The probe did not come to its end.")

    @property
    def flags(self) -> dict[str, Any]:
        """What `Target.flags` keeps: each step's outcome by name, the figures, and the words for the page."""
        outcomes = {found.step: self.is_good(found.step) for found in self.findings}
        words = [{"step": found.step, "good": found.good, "words": found.words} for found in self.findings]
        return {**outcomes, **self.figures, "usable": self.usable, "findings": words}
