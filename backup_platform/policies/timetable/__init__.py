"""Timetables: from a policy's settings `schedule.…` to times. Pure: no database, no clock, no Django.

timetable = read(settings, "Europe/Berlin")       # ScheduleFault: which setting is wrong, and what would be right
next_run(after, timetable, key)                   # strictly after; None: never within ten years
"""

from .blackouts import Blackouts, read_blackouts
from .clocks import zone_named
from .cron import Cron, parse_cron
from .faults import ScheduleFault
from .reading import ASKED, Timetable, of_text, permission, read
from .reasons import Run, Shift, explained_runs
from .runs import HORIZON, next_run, next_runs
from .windows import Windows, read_windows

__all__ = [
    "ASKED",
    "HORIZON",
    "Blackouts",
    "Cron",
    "Run",
    "ScheduleFault",
    "Shift",
    "Timetable",
    "Windows",
    "explained_runs",
    "next_run",
    "next_runs",
    "of_text",
    "parse_cron",
    "permission",
    "read",
    "read_blackouts",
    "read_windows",
    "zone_named",
]
