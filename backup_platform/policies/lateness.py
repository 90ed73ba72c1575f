"""What is made of a plan that is due, on time or late. Computed, without a database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from .timetable import Timetable
from .timetable.clocks import as_time, moment
from .timetable.runs import latest_moment, moments_after, next_moment

GRACE = timedelta(minutes=5)
"""A run that is taken later than this was missed: the platform was not at work."""
MOST_COUNTED = 50


class Decision(NamedTuple):
    """One run of those that are due, and when the next one is."""

    due_at: datetime
    passed: int
    """Earlier runs that it stands for, counted up to MOST_COUNTED + 1."""
    next_run_at: datetime | None

    @property
    def passed_in_words(self) -> str:
        """`3 earlier runs`."""
        count = f"more than {MOST_COUNTED}" if self.passed > MOST_COUNTED else str(self.passed)
        return f"{count} earlier {'run' if self.passed == 1 else 'runs'}"


def decide(due_at: datetime, now: datetime, timetable: Timetable, key: str) -> Decision:
    """The newest run that is due by now, how many before it were passed over, and the first one after now."""
    due, present = moment(due_at), moment(now)
    following = next_moment(due, timetable, key)
    if following is None or following > present:
        return Decision(due_at, 0, None if following is None else as_time(following))
    newest = latest_moment(due, present, timetable, key) or following
    following = next_moment(newest, timetable, key)
    passed = 1  # the one that was due first
    for run in moments_after(due, timetable, key):
        if run >= newest or passed > MOST_COUNTED:
            break
        passed += 1
    return Decision(as_time(newest), passed, None if following is None else as_time(following))


def is_missed(decision: Decision, now: datetime) -> bool:
    """Whether even the newest run comes too late to count as on time."""
    return now - decision.due_at > GRACE
