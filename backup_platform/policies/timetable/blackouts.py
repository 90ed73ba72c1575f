"""Blackouts: spans of the calendar in which nothing begins."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from . import clocks
from .cron import DAY_SECONDS
from .faults import ScheduleFault

SETTING = "schedule.blackouts"


@dataclass(frozen=True)
class Blackouts:
    """Dark spans as moments (from, until), apart and ascending."""

    spans: tuple[tuple[int, int], ...] = ()

    def ends(self, moment: int) -> int | None:
        """When the darkness of this moment ends; None if there is none."""
        span = self._before(moment)
        return span[1] if span and moment < span[1] else None

    def begun(self, moment: int) -> int | None:
        """When the darkness of this moment began; None if there is none."""
        span = self._before(moment)
        return span[0] if span and moment < span[1] else None

    def next_begin(self, moment: int) -> int | None:
        """When it next becomes dark after this moment."""
        index = bisect_right(self.spans, moment, key=_begin)
        return self.spans[index][0] if index < len(self.spans) else None

    def meet(self, begin: int, end: int) -> bool:
        """Whether any of it lies within the span (`end` not included)."""
        following = self.next_begin(begin)
        return self.ends(begin) is not None or (following is not None and following < end)

    def _before(self, moment: int) -> tuple[int, int] | None:
        index = bisect_right(self.spans, moment, key=_begin)
        return self.spans[index - 1] if index else None


def _begin(span: tuple[int, int]) -> int:
    return span[0]


def read_blackouts(value: Iterable[Mapping[str, Any]], zone: ZoneInfo) -> Blackouts:
    """Read `[{"from": date or date-time, "until": …}]`.

    A date as `until` counts to the end of that day. What names no offset is a wall time of `zone`; one that comes
    twice begins the darkness with its first and ends it with its second.
    """
    found = [_span(rule, number, zone) for number, rule in enumerate(value, 1)]
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return Blackouts(tuple(merged))


def _span(rule: Mapping[str, Any], number: int, zone: ZoneInfo) -> tuple[int, int]:
    first, last = (_written(rule.get(name), number) for name in ("from", "until"))
    begin = _moment(first, zone)
    end = _moment(last, zone, last=True)
    if end <= begin:
        raise ScheduleFault(SETTING, f"Blackout {number} ends before it begins; exchange its two times.")
    return begin, end


def _written(value: Any, number: int) -> date | datetime:
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(str(value))
        except ValueError:
            continue
    raise ScheduleFault(SETTING, f"Blackout {number}: write 2026-12-24 or 2026-12-24T18:00 instead of “{value!s:.40}”.")


def _moment(written: date | datetime, zone: ZoneInfo, *, last: bool = False) -> int:
    if isinstance(written, datetime) and written.tzinfo is not None:
        return clocks.moment(written)
    wall = (written.toordinal() - date(1970, 1, 1).toordinal()) * DAY_SECONDS
    if isinstance(written, datetime):
        wall += written.hour * 3600 + written.minute * 60 + written.second
    elif last:
        wall += DAY_SECONDS
    return clocks.last_moment_of(zone, wall) if last else clocks.moment_of(zone, wall)
