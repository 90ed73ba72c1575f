"""What a policy's retention settings come to, as values that can be compared and joined. No database, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

PREFIX = "retention."
COUNTS = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
WORDS = {
    "keep_last": "last", "keep_hourly": "hourly", "keep_daily": "daily", "keep_weekly": "weekly",
    "keep_monthly": "monthly", "keep_yearly": "yearly", "keep_within_days": "days",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """How long snapshots of one series stay. Zero: no such rule. Without any rule that counts, everything stays."""

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within_days: int = 0
    keep_tags: frozenset[str] = frozenset()
    minimum_age_days: int = 0

    def __post_init__(self) -> None:
        """Where everything stays, tags say nothing: two such rules are equal."""
        if self.keeps_everything:
            object.__setattr__(self, "keep_tags", frozenset())

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing expires. Tags alone are no rule: they only add to others."""
        return not (self.keep_within_days or any(getattr(self, name) for name in COUNTS))

    def words(self) -> str:
        """The rules in one line: last 3, daily 7, 30 days; or that everything stays."""
        least = [f"minimum age {self.minimum_age_days} days"] if self.minimum_age_days else []
        if self.keeps_everything:
            return ", ".join(["keep everything", *least])
        counts = [f"{WORDS[name]} {getattr(self, name)}" for name in COUNTS if getattr(self, name)]
        within = [f"everything of {self.keep_within_days} days"] if self.keep_within_days else []
        tags = [f"tags {', '.join(sorted(self.keep_tags))}"] if self.keep_tags else []
        return ", ".join([*counts, *within, *tags, *least])


KEEP_ALL = Rules()
_NUMBERS = tuple(one.name for one in fields(Rules) if one.name != "keep_tags")


def rules_of(settings: Mapping[str, Any]) -> Rules:
    """The rules in a map of settings by full name; what is absent, or is no number, is no rule."""
    numbers = {name: _number(settings.get(PREFIX + name)) for name in _NUMBERS}
    tags = settings.get(f"{PREFIX}keep_tags") or []
    return Rules(keep_tags=frozenset(map(str, tags)) if isinstance(tags, list) else frozenset(), **numbers)


def as_settings(rules: Rules) -> dict[str, Any]:
    """The same as a map of settings, without what is zero: how rows keep it."""
    found: dict[str, Any] = {PREFIX + name: getattr(rules, name) for name in _NUMBERS if getattr(rules, name)}
    if rules.keep_tags:
        found[f"{PREFIX}keep_tags"] = sorted(rules.keep_tags)
    return found


def joined(several: Iterable[Rules]) -> Rules:
    """Rules that keep at least what each of several keeps: setting by setting the longer. Of none: everything."""
    found = list(several)
    if not found:
        return KEEP_ALL
    tags = frozenset[str]().union(*(one.keep_tags for one in found))
    minimum = max(one.minimum_age_days for one in found)
    if any(one.keeps_everything for one in found):
        return Rules(minimum_age_days=minimum)
    return Rules(keep_tags=tags, **{name: max(getattr(one, name) for one in found) for name in _NUMBERS})


def keeps_as_much(these: Rules, those: Rules) -> bool:
    """Whether these rules keep all that those keep, whatever the snapshots are."""
    return joined((these, those)) == these


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
