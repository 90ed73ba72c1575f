"""Cron lines of five fields, as a calendar of wall times. Time zones are somebody else's (nominal.py).

Lists, ranges, steps and English names; 7 is Sunday too. Where both day fields are restricted a day counts if either
says so, and a field that begins with * is not restricted: the rule that cron has had for forty years.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left
from dataclasses import dataclass
from datetime import date

from .cron_fields import DAY, FIELDS, HOUR, MINUTE, MONTH, WEEKDAY, read_field, refused, split

__all__ = ["DAY_SECONDS", "Cron", "parse_cron", "weekday_of"]

DAY_SECONDS = 86400
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
EPOCH_WEEKDAY = date(1970, 1, 1).weekday()


@dataclass(frozen=True)
class Cron:
    """A cron line, read. Wall times are whole seconds since 1970-01-01 00:00 of no zone."""

    text: str
    minutes: tuple[int, ...]
    """Minutes of the day at which it runs, ascending."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Monday."""
    either_day: bool
    """Both day fields are restricted, so one of them is enough."""
    every_hour: bool
    """No hour is left out: it then follows real hours, not the clock on the wall."""
    longest_pause: int
    """Minutes between one run and the next within an every-hour line, at most."""

    def first_from(self, wall: int, until: int) -> int | None:
        """The first wall time of the line not before `wall` and before `until`; None if there is none."""
        day, of_day = divmod(-(-wall // 60), 1440)
        if not self._has_day(day) or of_day > self.minutes[-1]:
            later = self._day_from(day + 1, until // DAY_SECONDS)
            if later is None:
                return None
            day, of_day = later, 0
        found = day * DAY_SECONDS + self.minutes[bisect_left(self.minutes, of_day)] * 60
        return found if found < until else None

    def has_day_of(self, wall: int) -> bool:
        """Whether the line runs on the day of this wall time at all."""
        return self._has_day(wall // DAY_SECONDS)

    def _day_from(self, day: int, last: int) -> int | None:
        while day <= last:
            there = date.fromordinal(EPOCH_ORDINAL + day)
            if there.month not in self.months:
                day += calendar.monthrange(there.year, there.month)[1] - there.day + 1
            elif self._has_day(day):
                return day
            else:
                day += 1
        return None

    def _has_day(self, day: int) -> bool:
        there = date.fromordinal(EPOCH_ORDINAL + day)
        if there.month not in self.months:
            return False
        of_month, of_week = there.day in self.days, weekday_of(day) in self.weekdays
        return (of_month or of_week) if self.either_day else (of_month and of_week)


def weekday_of(day: int) -> int:
    """The weekday of a day counted from 1970-01-01; 0 is Monday."""
    return (day + EPOCH_WEEKDAY) % 7


def parse_cron(text: str) -> Cron:
    """Read a cron line. ScheduleFault names the field that is wrong, and what would be right."""
    words = split(text)
    values = [read_field(field, word) for field, word in zip(FIELDS, words, strict=True)]
    minutes, hours, days, months, weekdays = values
    restricted = [not words[FIELDS.index(one)].startswith("*") for one in (DAY, WEEKDAY)]
    if not restricted[1]:
        _check_day_exists(words, days, months)
    return Cron(
        text=" ".join(words),
        minutes=tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset((one + 6) % 7 for one in weekdays),
        either_day=all(restricted),
        every_hour=len(hours) == HOUR.highest + 1,
        longest_pause=_longest_pause(sorted(minutes)),
    )


def _longest_pause(minutes: list[int]) -> int:
    following = [*minutes[1:], minutes[0] + MINUTE.highest + 1]
    return max(after - before for before, after in zip(minutes, following, strict=True))


def _check_day_exists(words: list[str], days: frozenset[int], months: frozenset[int]) -> None:
    """31 February: found when it is written, not by waiting for it."""
    longest = max(29 if month == 2 else calendar.monthrange(2001, month)[1] for month in months)
    if min(days) > longest:
        day, month = words[FIELDS.index(DAY)], words[FIELDS.index(MONTH)]
        raise refused(f"it never comes: no month of “{month}” has a day “{day}”; use a day up to {longest}.")
