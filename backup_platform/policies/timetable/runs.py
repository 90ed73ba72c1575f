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
from .reading import Timetable, share_of

HORIZON = 10 * 366 * DAY_SECONDS
"""How far is searched: what does not come within ten years (29 February may take eight) never comes."""


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
    for _, base in bases_from(after, timetable, key, after + HORIZON):
        run = run_of(base, timetable, share)
        if run > after:
            return run
    return None


def bases_from(after: int, timetable: Timetable, key: str, until: int) -> Iterator[tuple[int, int]]:
    """The due times and bases whose runs may come after a moment, in order."""
    nominal = timetable.nominal(key)
    start = _start(after - int(share_of(key) * timetable.jitter), timetable)
    while (found := _base(start, timetable, nominal, until)) is not None:
        yield found
        start = found[1] + 1


def run_of(base: int, timetable: Timetable, share: float) -> int:
    """The run that belongs to a base."""
    if not timetable.jitter or not share:
        return base
    return base + int(share * (timetable.permission.lasts(base, base + timetable.jitter) - base))


def _start(moment: int, timetable: Timetable) -> int:
    """From where bases are looked for: what fell due since permission ended waits for its return."""
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
