"""When a machine runs: due times, moved by blackouts, windows and jitter, or left out.

A *base* is a due time that is permitted, or the first permitted moment after it. The run follows it by the machine's
own share of the jitter, or of what is left of the window where that is less: so no run leaves its window, two runs of
a machine never change places, and, as every run is counted from its base and not from the run before, none drifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from .clocks import as_time, moment
from .cron import DAY_SECONDS
from .nominal import Nominal
from .reading import Step, Timetable, share_of

HORIZON = 10 * 366 * DAY_SECONDS
"""How far is searched: what does not come within ten years (29 February may take eight) never comes."""

MOST_KNOWN = 8
"""Steps that a timetable keeps: ten thousand machines that are due together ask for the same two or three."""


def next_run(after: datetime, timetable: Timetable, key: str) -> datetime | None:
    """The first run strictly after `after`; None if none comes within ten years.

    `key` names the policy and the machine: it decides where within the spread the machine runs.
    """
    found = next_moment(moment(after), timetable, key)
    return None if found is None else as_time(found)


def next_runs(after: datetime, timetable: Timetable, key: str, most: int) -> list[datetime]:
    """The next runs, at most so many."""
    found: list[datetime] = []
    for run in moments_after(moment(after), timetable, key):
        if len(found) == most:
            break
        found.append(as_time(run))
    return found


def moments_after(after: int, timetable: Timetable, key: str) -> Iterator[int]:
    """Every run after a moment, one by one, without an end of its own."""
    following = next_moment(after, timetable, key)
    while following is not None:
        yield following
        following = next_moment(following, timetable, key)


def next_moment(after: int, timetable: Timetable, key: str) -> int | None:
    """As `next_run`, in whole seconds since 1970 UTC."""
    share = share_of(key)
    for step in steps_after(after, timetable, key, share):
        run = run_of(step, share)
        if run > after:
            return run
    return None


def steps_after(after: int, timetable: Timetable, key: str, share: float) -> Iterator[Step]:
    """The steps whose runs may come after a moment, in order."""
    until, start = after + HORIZON, after - int(share * timetable.jitter)
    while (found := _step(start, timetable, key, until)) is not None:
        yield found
        start = found.base + 1


def run_of(step: Step, share: float) -> int:
    """When a machine with this share of the spread runs."""
    return step.base + int(share * step.room)


def _step(moment: int, timetable: Timetable, key: str, until: int) -> Step | None:
    """The step of a moment; for a cron line, which is the same for all machines, from those found before."""
    if timetable.cron is None:
        return _found(moment, timetable, timetable.nominal(key), until)
    for known in tuple(timetable.steps):
        if known.since <= moment <= known.upto:
            return known
    found = _found(moment, timetable, timetable.nominal(key), until)
    if found is not None:
        timetable.steps[:] = [found, *timetable.steps[: MOST_KNOWN - 1]]
    return found


def _found(moment: int, timetable: Timetable, nominal: Nominal, until: int) -> Step | None:
    found = _base(_start(moment, timetable), timetable, nominal, until)
    if found is None:
        return None
    due, base = found
    room = timetable.permission.lasts(base, base + timetable.jitter) - base if timetable.jitter else 0
    return Step(moment, max(due, base - 1), due, base, room)


def _start(moment: int, timetable: Timetable) -> int:
    """From where due times are looked for: what fell due since permission ended waits for its return."""
    if timetable.late_rather_than_never and not timetable.permission.holds(moment):
        return timetable.permission.refused_since(moment, moment - HORIZON)
    return moment


def _base(start: int, timetable: Timetable, nominal: Nominal, until: int) -> tuple[int, int] | None:
    """The first due time not before `start` that has a base, and that."""
    due = nominal.first_from(start, until)
    if timetable.late_rather_than_never:
        base = None if due is None else timetable.permission.first_from(due, until)
        return None if due is None or base is None else (due, base)
    while due is not None and not timetable.permission.holds(due):
        opened = timetable.permission.first_from(due, until)
        due = None if opened is None else nominal.first_from(opened, until)
    return None if due is None else (due, due)


def latest_moment(since: int, until: int, timetable: Timetable, key: str) -> int | None:
    """The last run after `since` and not after `until`, found from the end: however long the time, few steps."""
    back = 3600
    while True:
        begin = max(since, until - back)
        found = next_moment(begin, timetable, key)
        if found is not None and found <= until:
            return _last_from(found, until, timetable, key)
        if begin == since:
            return None
        back *= 4


def _last_from(found: int, until: int, timetable: Timetable, key: str) -> int:
    for later in moments_after(found, timetable, key):
        if later > until:
            break
        found = later
    return found
