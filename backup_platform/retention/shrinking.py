"""Keeping less takes effect after a delay, keeping more at once. Pure: in force + wanted → what is in force next.

So a mistake, or somebody who wants snapshots gone, is seen before it bites: the old rules go on in every respect in
which they keep more, until the delay is over. A minimum age is stricter still: what was once promised to a snapshot
stays promised to it, and a shorter age counts for snapshots that are received afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .rules import KEEP_ALL, Rules, joined, keeps_as_much

Ages = tuple[tuple[datetime, int], ...]
"""Since when which minimum age (days) has been in force, oldest first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The rules in force for one series, and what is to replace them."""

    in_force: Rules = KEEP_ALL
    pending: Rules | None = None
    takes_effect_at: datetime | None = None
    ages: Ages = ()


def follow(standing: Standing, wanted: Rules, now: datetime, delay: timedelta) -> Standing:
    """What stands after somebody looked at what the policies want now."""
    if standing.pending is not None and standing.takes_effect_at is not None and standing.takes_effect_at <= now:
        standing = replace(standing, in_force=standing.pending, pending=None, takes_effect_at=None)
    in_force = joined((standing.in_force, wanted))
    if in_force == wanted:
        standing = replace(standing, in_force=wanted, pending=None, takes_effect_at=None)
    else:
        since = standing.takes_effect_at if _is_milder(wanted, standing.pending) else None
        standing = replace(standing, in_force=in_force, pending=wanted, takes_effect_at=since or now + delay)
    return replace(standing, ages=aged(standing.ages, now, standing.in_force.minimum_age_days))


def _is_milder(wanted: Rules, pending: Rules | None) -> bool:
    """Whether what is wanted keeps all that was announced already: then the announced day stands."""
    return pending is not None and keeps_as_much(wanted, pending)


def aged(ages: Ages, now: datetime, days: int) -> Ages:
    """The history of minimum ages, with another entry if it changed."""
    latest = ages[-1][1] if ages else 0
    return ages if latest == days else (*ages, (now, days))


def minimum_days(ages: Ages, received_at: datetime) -> int:
    """The longest minimum age in force since a snapshot was received; 0 without any.

    The entry in force at its receipt counts, and every later one: a longer age protects what is there already.
    """
    days = 0
    for number, (_, entry) in enumerate(ages):
        over_before = number + 1 < len(ages) and ages[number + 1][0] <= received_at
        if not over_before:
            days = max(days, entry)
    return days


def merged(these: Ages, those: Ages) -> Ages:
    """One history that promises at each moment what either did."""
    found: list[tuple[datetime, int]] = []
    for moment in sorted({since for since, _ in (*these, *those)}):
        days = max(_at(these, moment), _at(those, moment))
        if not found or found[-1][1] != days:
            found.append((moment, days))
    return tuple(found)


def _at(ages: Ages, moment: datetime) -> int:
    return next((days for since, days in reversed(ages) if since <= moment), 0)
