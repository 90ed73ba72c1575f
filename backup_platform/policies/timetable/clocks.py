"""Clocks on walls: which wall time a zone shows at a moment, and which moment a wall time is.

A *moment* is whole seconds since 1970-01-01 00:00 UTC. A *wall time* is whole seconds since 1970-01-01 00:00 as the
clock on the wall counts, so `wall = moment + offset(zone, moment)`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import floor
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .cron import DAY_SECONDS
from .faults import ScheduleFault

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall times have no zone
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
NOT_NAMES = frozenset({"localtime", "posixrules", "Factory"})
"""Files of the zone database that mean the server's own setting, or nothing."""


@lru_cache(maxsize=1024)
def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name or `utc`. ScheduleFault for a name that does not exist."""
    try:
        if NAME.fullmatch(name) and len(name) <= 64 and name not in NOT_NAMES:
            return ZoneInfo("UTC" if name.lower() == "utc" else name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise ScheduleFault(
        "schedule.zone", f"There is no time zone “{name[:64]}”; write a name such as Europe/Berlin, or utc."
    )


def offset(zone: ZoneInfo, moment: int) -> int:
    """Seconds that the zone's clock is ahead of UTC at a moment."""
    return _seconds(datetime.fromtimestamp(moment, zone).utcoffset())


def wall_at(zone: ZoneInfo, moment: int) -> int:
    """What the clock on the wall shows."""
    return moment + offset(zone, moment)


def moment_of(zone: ZoneInfo, wall: int) -> int:
    """The moment of a wall time: its first, if it comes twice; the first moment after the gap, if it never comes."""
    there = (EPOCH + timedelta(seconds=wall)).replace(tzinfo=zone)
    before = _seconds(there.utcoffset())
    if offset(zone, wall - before) == before:
        return wall - before
    after = _seconds(there.replace(fold=1).utcoffset())
    return _change_between(zone, wall - after, wall - before)


def last_moment_of(zone: ZoneInfo, wall: int) -> int:
    """As `moment_of`, but the second one if it comes twice."""
    first = moment_of(zone, wall)
    second = wall - _seconds((EPOCH + timedelta(seconds=wall)).replace(tzinfo=zone, fold=1).utcoffset())
    return max(first, second) if wall_at(zone, second) == wall else first


def comes_twice(zone: ZoneInfo, wall: int) -> bool:
    """Whether the clock shows this wall time twice."""
    return moment_of(zone, wall) != last_moment_of(zone, wall)


def next_change(zone: ZoneInfo, moment: int) -> tuple[int, bool]:
    """How far the offset at `moment` surely holds: (until when, whether the clock is changed there).

    It looks no further than the end of the UTC day, so that nobody walks over years.
    """
    end = (moment // DAY_SECONDS + 1) * DAY_SECONDS
    change = _change_of_day(zone, end)
    if change is not None and change > moment:
        return change, True
    return end, False


@lru_cache(maxsize=8192)
def _change_of_day(zone: ZoneInfo, end: int) -> int | None:
    """When the clock is changed on the UTC day that ends here (its end counts, its beginning does not)."""
    begin = end - DAY_SECONDS
    return None if offset(zone, begin) == offset(zone, end) else _change_between(zone, begin, end)


def _change_between(zone: ZoneInfo, before: int, after: int) -> int:
    """The first moment with the later offset, by bisection; the offsets of the two differ."""
    old = offset(zone, before)
    while after - before > 1:
        middle = (before + after) // 2
        if offset(zone, middle) == old:
            before = middle
        else:
            after = middle
    return after


def moment(at: datetime) -> int:
    """Whole seconds of an aware time, rounded down."""
    return floor(at.timestamp())


def as_time(seconds: int) -> datetime:
    """A moment as an aware time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(delta: timedelta | None) -> int:
    assert delta is not None  # every ZoneInfo has an offset at every time
    return delta.days * DAY_SECONDS + delta.seconds
