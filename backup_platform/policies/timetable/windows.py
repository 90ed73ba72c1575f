"""Allowed windows: spans of the week, by the clock on the wall, in which runs may begin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from .clocks import next_change, offset, wall_at
from .cron import DAY_SECONDS, weekday_of
from .faults import ScheduleFault

SETTING = "schedule.windows"
WEEK = 7 * DAY_SECONDS
CLOCK = re.compile(r"(?P<hour>[01][0-9]|2[0-4]):(?P<minute>[0-5][0-9])")
Span = tuple[int, int]
"""Seconds of the week since Monday 00:00: from (included), until (not included)."""


@dataclass(frozen=True)
class Windows:
    """The week's open spans, apart and ascending. Nothing at all means: always open."""

    spans: tuple[Span, ...] = ()

    def are_open(self, zone: ZoneInfo, moment: int) -> bool:
        """Whether a run may begin at this moment."""
        return not self.spans or self._span_at(_of_week(wall_at(zone, moment))) is not None

    def first_open(self, zone: ZoneInfo, moment: int, until: int) -> int | None:
        """The first open moment not before this one; None if there is none before `until`."""
        while self.spans and moment < until:
            wait = self._wait(_of_week(wall_at(zone, moment)))
            end, _ = next_change(zone, moment)
            if moment + wait < end:
                moment += wait
                break
            moment = end
        return moment if moment < until else None

    def open_until(self, zone: ZoneInfo, moment: int, until: int) -> int:
        """When the window that is open at `moment` closes, or `until` if it is open so long."""
        while self.spans and moment < until:
            span = self._span_at(of_week := _of_week(wall_at(zone, moment)))
            if span is None:
                return moment
            moment = min(moment + span[1] - of_week, next_change(zone, moment)[0])
        return until

    def last_open(self, zone: ZoneInfo, moment: int, since: int) -> int:
        """The last open moment before this one, or `since` if there is none after that."""
        while self.spans and moment > since and not self.are_open(zone, moment - 1):
            begin = (moment - 1) // DAY_SECONDS * DAY_SECONDS
            changed, is_change = next_change(zone, begin)
            if is_change and changed < moment:
                begin = changed
            closed = self._closed_since(_of_week(moment - 1 + offset(zone, moment - 1)))
            moment = max(begin, moment - 1 - closed)
        return max(moment - 1, since)

    def _span_at(self, of_week: int) -> Span | None:
        return next((span for span in self.spans if span[0] <= of_week < span[1]), None)

    def _wait(self, of_week: int) -> int:
        """Seconds by the clock until it is open; 0 when it is."""
        return min(0 if begin <= of_week < end else (begin - of_week) % WEEK for begin, end in self.spans)

    def _closed_since(self, of_week: int) -> int:
        """Seconds by the clock since the last window closed."""
        return min((of_week - end) % WEEK for _, end in self.spans)


def _of_week(wall: int) -> int:
    return weekday_of(wall // DAY_SECONDS) * DAY_SECONDS + wall % DAY_SECONDS


def read_windows(value: Iterable[Mapping[str, Any]]) -> Windows:
    """Read `[{"days": [0-6, 0 is Monday], "from": "HH:MM", "until": "HH:MM"}]`; `until` may be on the next day."""
    found: list[Span] = []
    for number, rule in enumerate(value, 1):
        found += _spans(rule, number)
    merged = _merged(found)
    return Windows(() if merged == ((0, WEEK),) else merged)


def _spans(rule: Mapping[str, Any], number: int) -> list[Span]:
    begin, end = (_clock(rule.get(name), number) for name in ("from", "until"))
    days = rule.get("days")
    if not isinstance(days, (list, tuple)) or not days or any(day not in range(7) for day in days):
        raise ScheduleFault(SETTING, f"Window {number} never opens: name its days, from 0 (Monday) to 6 (Sunday).")
    if begin == end:
        raise ScheduleFault(SETTING, f"Window {number} never opens: it closes when it opens; a day is 00:00 to 24:00.")
    length = (end - begin) % DAY_SECONDS or DAY_SECONDS
    return [span for day in days for span in _wrapped(day * DAY_SECONDS + begin, length)]


def _wrapped(begin: int, length: int) -> list[Span]:
    """A span that runs over the week's end is two."""
    begin %= WEEK
    if begin + length <= WEEK:
        return [(begin, begin + length)]
    return [(begin, WEEK), (0, begin + length - WEEK)]


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _clock(value: Any, number: int) -> int:
    match = CLOCK.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match["hour"]) * 3600 + int(match["minute"]) * 60 if match else DAY_SECONDS + 1
    if seconds > DAY_SECONDS:
        raise ScheduleFault(SETTING, f"Window {number}: write its times as 00:00 to 24:00, not “{value!s:.20}”.")
    return seconds
