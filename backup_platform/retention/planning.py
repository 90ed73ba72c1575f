"""What stays and what goes, with every reason in words: snapshots' facts + rules + the machine's calendar → decisions.

Pure: no database, no clock of its own. Times are the server's receipt times, so a machine whose clock is wrong loses
nothing. Every rule looks at all good snapshots of the series by itself, and what any rule keeps stays; so longer
rules never keep less. Only good (verified) snapshots fill a rule's places. Damaged ones stay as long as they would if
they were good, for they may be healed; those that are not settled yet always stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any
from uuid import UUID

from .rules import WORDS, Rules

GOOD, DAMAGED = "verified", "damaged"

LAST_GOOD = "the newest good snapshot of its series: it always stays"
NONE_GOOD = "the newest of its series, which has no good one"
HELD = "under a legal hold"
"""Without its case: not everybody who sees a snapshot may see that."""
EVERYTHING = "no rule lets anything expire"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is asked of one snapshot. All times are aware."""

    id: UUID
    received_at: datetime
    state: str = GOOD
    tags: frozenset[str] = frozenset()
    holds: tuple[str, ...] = ()
    """The cases of the holds that cover it."""
    minimum_days: int = 0
    """The longest minimum age that was in force since it was received."""
    brought_back_until: datetime | None = None
    """Until when somebody's bringing it back protects it."""


@dataclass(slots=True)
class Decision:
    """What becomes of one snapshot: kept with all reasons, or not."""

    facts: Facts
    reasons: list[str] = field(default_factory=list)
    until: datetime | None = None
    """The latest end of those reasons that have one by the calendar."""
    is_open: bool = False
    """Whether a reason has no end by the calendar (a place in a rule, a hold, being the last good one)."""

    @property
    def keep(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)

    def stays(self, reason: str, until: datetime | None = None) -> None:
        """It stays for this reason too, until a moment or as long as the reason holds."""
        self.reasons.append(reason)
        if until is None:
            self.is_open = True
        else:
            self.until = until if self.until is None else max(self.until, until)


Key = Callable[[datetime], Any]
KEYS: dict[str, tuple[Key, str]] = {
    # A repeated hour in autumn is two hours: the offset tells them apart.
    "keep_hourly": (lambda t: (t.date(), t.hour, t.utcoffset()), "%Y-%m-%d %H:00"),
    "keep_daily": (lambda t: t.date(), "%Y-%m-%d"),
    "keep_weekly": (lambda t: t.isocalendar()[:2], "week %G-W%V"),
    "keep_monthly": (lambda t: (t.year, t.month), "%Y-%m"),
    "keep_yearly": (lambda t: t.year, "%Y"),
}


def plan(snapshots: Sequence[Facts], rules: Rules, zone: tzinfo, now: datetime) -> list[Decision]:
    """Decide about the snapshots of one series, newest first."""
    decisions = [Decision(one) for one in sorted(snapshots, key=_age)]
    for decision in decisions:
        _protect(decision, now)
    _keep_last_good(decisions)
    good = [one for one in decisions if one.facts.state == GOOD]
    _apply(good, good, rules, zone, now)
    settled = [one for one in decisions if one.facts.state in (GOOD, DAMAGED)]
    _apply(settled, [one for one in settled if one.facts.state == DAMAGED], rules, zone, now)
    return decisions


def _age(facts: Facts) -> tuple[float, bytes]:
    return (-facts.received_at.timestamp(), facts.id.bytes)


def _protect(decision: Decision, now: datetime) -> None:
    """What holds back a snapshot whatever the rules say."""
    facts = decision.facts
    if facts.holds:
        decision.stays(HELD)
    if facts.state not in (GOOD, DAMAGED):
        decision.stays("not verified yet")
    oldest = facts.received_at + timedelta(days=facts.minimum_days)
    if facts.minimum_days and now < oldest:
        decision.stays(f"younger than the minimum age of {facts.minimum_days} days", oldest)
    if facts.brought_back_until and now < facts.brought_back_until:
        decision.stays("brought back by a person", facts.brought_back_until)


def _keep_last_good(decisions: Sequence[Decision]) -> None:
    newest = next((one for one in decisions if one.facts.state == GOOD), None)
    if newest is not None:
        newest.stays(LAST_GOOD)
    elif decisions:
        decisions[0].stays(NONE_GOOD)


def _apply(ranked: Sequence[Decision], judged: Sequence[Decision], rules: Rules, zone: tzinfo, now: datetime) -> None:
    """Let the rules look at `ranked`, newest first, and write what they keep into those of them that are `judged`."""
    wanted = {one.facts.id for one in judged}
    for decision, reason, until in _kept(ranked, rules, zone, now):
        if decision.facts.id in wanted:
            decision.stays(reason, until)


def _kept(
    ranked: Sequence[Decision], rules: Rules, zone: tzinfo, now: datetime
) -> Iterator[tuple[Decision, str, datetime | None]]:
    if rules.keeps_everything:
        yield from ((one, EVERYTHING, None) for one in ranked)
        return
    for number, one in enumerate(ranked[: rules.keep_last], 1):
        yield one, f"last: {number} of {rules.keep_last}", None
    for name, (key, form) in KEYS.items():
        yield from _slots(ranked, getattr(rules, name), key, f"{WORDS[name]}: {form}", zone)
    for one in ranked:
        yield from _by_itself(one, rules, now)


def _slots(
    ranked: Sequence[Decision], count: int, key: Key, form: str, zone: tzinfo
) -> Iterator[tuple[Decision, str, None]]:
    """The newest of each of the first `count` periods that occur. A set, for local time may run back over midnight."""
    seen: set[Any] = set()
    for one in ranked:
        local = one.facts.received_at.astimezone(zone)
        if len(seen) >= count:
            return
        if (period := key(local)) not in seen:
            seen.add(period)
            yield one, f"{local.strftime(form)} ({len(seen)} of {count})", None


def _by_itself(one: Decision, rules: Rules, now: datetime) -> Iterator[tuple[Decision, str, datetime | None]]:
    end = one.facts.received_at + timedelta(days=rules.keep_within_days)
    if rules.keep_within_days and now < end:
        yield one, f"received within {rules.keep_within_days} days", end
    for tag in sorted(one.facts.tags & rules.keep_tags):
        yield one, f"bears the tag {tag}", None
