"""Why a run is at the time that it is: what the schedule wanted, and what moved it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from .clocks import as_time, comes_twice, moment, wall_at
from .nominal import RealHours, WallTimes
from .reading import Timetable, share_of
from .runs import run_of, steps_after


class Shift(StrEnum):
    """What moved a run, or made its time doubtful."""

    GAP = "gap"
    TWICE = "twice"
    CLOCK = "clock"
    BLACKOUT = "blackout"
    WINDOW = "window"
    JITTER = "jitter"


WORDS = {
    Shift.GAP: "that time does not exist on this day, as the clock is put forward",
    Shift.TWICE: "that time comes twice, as the clock is put back; it runs at the first",
    Shift.CLOCK: "one run more, as the clock is changed by less than an hour",
    Shift.BLACKOUT: "put off to the end of a blackout",
    Shift.WINDOW: "put off until a window opens",
    Shift.JITTER: "spread, so that not all machines begin at once",
}


@dataclass(frozen=True)
class Run:
    """One run to come. Times are in UTC."""

    at: datetime
    wanted: datetime
    """The due time that it serves, the first if it serves several."""
    shifts: tuple[Shift, ...]

    @property
    def because(self) -> str:
        """Why it is not simply at the schedule's time; empty if it is."""
        return "; ".join(WORDS[shift] for shift in self.shifts)


def explained_runs(after: datetime, timetable: Timetable, key: str, most: int) -> list[Run]:
    """The next runs after a time, at most so many, each with its reasons."""
    found: list[Run] = []
    for run in _runs(moment(after), timetable, key):
        if len(found) == most:
            break
        found.append(run)
    return found


def _runs(after: int, timetable: Timetable, key: str) -> Iterator[Run]:
    share, last = share_of(key), after
    for step in steps_after(after, timetable, key, share):
        at = run_of(step, share)
        if at > last:
            last = at
            yield Run(as_time(at), as_time(step.due), tuple(_shifts(timetable, key, step.due, step.base, at)))


def _shifts(timetable: Timetable, key: str, due: int, base: int, at: int) -> Iterator[Shift]:
    yield from _of_the_clock(timetable, key, due)
    permission = timetable.permission
    if base > due:
        if permission.blackouts.meet(due, base):
            yield Shift.BLACKOUT
        if not (
            permission.windows.are_open(timetable.zone, due) and permission.windows.are_open(timetable.zone, base - 1)
        ):
            yield Shift.WINDOW
    if at > base:
        yield Shift.JITTER


def _of_the_clock(timetable: Timetable, key: str, due: int) -> Iterator[Shift]:
    nominal = timetable.nominal(key)
    if not isinstance(nominal, (WallTimes, RealHours)):
        return
    wall = wall_at(timetable.zone, due)
    named = nominal.cron.first_from(wall, wall + 60) == wall
    if not named:
        yield Shift.GAP if isinstance(nominal, WallTimes) else Shift.CLOCK
    elif isinstance(nominal, WallTimes) and comes_twice(timetable.zone, wall):
        yield Shift.TWICE
