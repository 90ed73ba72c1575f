"""What a rebuild did and what it found wrong, for people and for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MAX_NAMED = 10_000
"""Faults named; further ones are counted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is missing or damaged in the store: what it is (pack, snapshot, machine …), and what is wrong."""

    kind: str
    name: str
    fault: str


@dataclass
class Report:
    """Counts of what was made, and the faults."""

    made: Counter[str] = field(default_factory=Counter)
    damage: list[Fault] = field(default_factory=list)
    unnamed: int = 0
    notes: list[str] = field(default_factory=list)

    def fault(self, kind: str, name: object, sentence: str) -> None:
        """Note damage."""
        if len(self.damage) < MAX_NAMED:
            self.damage.append(Fault(kind, str(name), sentence))
        else:
            self.unnamed += 1

    def count(self, what: str, number: int = 1) -> None:
        """Count something that was made."""
        self.made[what] += number
