"""When a schedule says that it runs, before windows, blackouts and jitter have a word.

The clock's changes, written down once:
* A wall time that does not exist (the clock jumps over it) runs once, at the first moment after the gap.
* A wall time that comes twice runs once, at its first.
* A line that leaves no hour out follows real time instead: it goes on through the second pass. Where the change is not
  of whole hours and would make a longer pause than the line ever has, it runs at the moment of the change, too.
* An interval counts real minutes from a fixed origin and never sees a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

from .clocks import moment_of, next_change, offset, wall_at
from .cron import DAY_SECONDS, Cron

ORIGIN = 4 * DAY_SECONDS
"""From where intervals are counted: Monday, 5 January 1970, 00:00 UTC, so that weeks begin on a Monday."""


class Nominal(Protocol):
    """A source of due times."""

    def first_from(self, moment: int, until: int) -> int | None:
        """The first due time not before `moment` and before `until`; None if there is none."""


@dataclass(frozen=True)
class Interval:
    """Every so many seconds of real time, shifted by `phase`."""

    every: int
    phase: int = 0

    def first_from(self, moment: int, until: int) -> int | None:
        found = moment + (self.phase + ORIGIN - moment) % self.every
        return found if found < until else None


@dataclass(frozen=True)
class WallTimes:
    """A cron line on the clock of a zone, hours left out."""

    cron: Cron
    zone: ZoneInfo

    def first_from(self, moment: int, until: int) -> int | None:
        wall: int | None = wall_at(self.zone, moment) // 60 * 60
        last = until + DAY_SECONDS
        while wall is not None and (wall := self.cron.first_from(wall, last)) is not None:
            found = moment_of(self.zone, wall)
            if found >= moment:
                return found if found < until else None
            wall += 60
        return None


@dataclass(frozen=True)
class RealHours:
    """A cron line of every hour on the clock of a zone: followed from change to change."""

    cron: Cron
    zone: ZoneInfo

    def first_from(self, moment: int, until: int) -> int | None:
        while moment < until:
            ahead = offset(self.zone, moment)
            wall = self.cron.first_from(moment + ahead, until + DAY_SECONDS)
            end, changed = next_change(self.zone, moment)
            if wall is not None and wall - ahead < end:
                return wall - ahead if wall - ahead < until else None
            if changed and end < until and self._stretches(end, ahead):
                return end
            if wall is None:
                return None
            moment = max(end, wall - ahead - DAY_SECONDS)  # on days that are not the line's no change matters
        return None

    def _stretches(self, change: int, ahead: int) -> bool:
        """Whether the pause around a change would be longer than the line's longest."""
        after = change + offset(self.zone, change)
        pause = self._since_last(change + ahead) + self._until_next(after)
        return pause > self.cron.longest_pause and self.cron.has_day_of(after)

    def _since_last(self, wall: int) -> int:
        minute = wall // 60 % 60
        return min((minute - one - 1) % 60 + 1 for one in self._minutes())

    def _until_next(self, wall: int) -> int:
        minute = wall // 60 % 60
        return min((one - minute) % 60 for one in self._minutes())

    def _minutes(self) -> list[int]:
        return [one for one in self.cron.minutes if one < 60]


def of_cron(cron: Cron, zone: ZoneInfo) -> Nominal:
    """The due times of a cron line in a zone."""
    return RealHours(cron, zone) if cron.every_hour else WallTimes(cron, zone)
