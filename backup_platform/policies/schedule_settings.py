"""The settings that say when a policy runs."""

from __future__ import annotations

from . import calendar_checks as calendars
from . import checks
from .setting import Kind, Setting

KINDS = (("none", "Never by itself"), ("cron", "At times (cron line)"), ("interval", "Every so many minutes"))
CATCH_UPS = (("once", "Run once, late"), ("skip", "Leave it until the next time"))

SCHEDULE = (
    Setting(
        "schedule.kind", "schedule", Kind.CHOICE, "none", "Timetable",
        "“Never by itself” leaves running to people and to the machine.",
        checks.one_of(KINDS), choices=KINDS,
    ),
    Setting(
        "schedule.cron", "schedule", Kind.CRON, "0 2 * * *", "Cron line",
        "Minute, hour, day of month, month, day of week: 30 1 * * mon-fri is half past one on working days.",
        calendars.cron,
    ),
    Setting(
        "schedule.every_minutes", "schedule", Kind.NUMBER, 1440, "Interval",
        "How long after one due time the next follows; 1440 is a day.",
        checks.integer(1, 525600, "minutes"), unit="minutes",
    ),
    Setting(
        "schedule.zone", "schedule", Kind.ZONE, "machine", "Time zone",
        "In which the cron line, windows and blackouts are read: “machine” (each machine's own), “utc”, or a name such "
        "as Europe/Berlin.",
        calendars.zone,
    ),
    Setting(
        "schedule.jitter_minutes", "schedule", Kind.NUMBER, 15, "Spread",
        "Each machine begins at a moment of its own within so many minutes after the due time, so that not all begin "
        "at once.",
        checks.integer(0, 1440, "minutes"), unit="minutes",
    ),
    Setting(
        "schedule.windows", "schedule", Kind.WINDOWS, [], "Allowed windows",
        "Runs begin only inside. Empty: always. One a line: Mon-Fri 22:00-06:00, or Sat,Sun 00:00-24:00.",
        calendars.windows,
    ),
    Setting(
        "schedule.blackouts", "schedule", Kind.BLACKOUTS, [], "Blackout times",
        "Nothing begins inside. One a line: 2026-12-24 until 2026-12-26 (both days included), or "
        "2026-12-31T18:00 until 2027-01-01T08:00.",
        calendars.blackouts,
    ),
    Setting(
        "schedule.catch_up", "schedule", Kind.CHOICE, "once", "Missed runs",
        "What happens when the platform was away at the due time, or that time lies outside the windows or in a "
        "blackout.",
        checks.one_of(CATCH_UPS), choices=CATCH_UPS,
    ),
    Setting(
        "schedule.after_policy", "schedule", Kind.POLICY, None, "After",
        "Runs on a machine each time this other policy has succeeded there, besides its own timetable if it has one. "
        "Empty: follows nobody.",
        checks.optional(checks.policy_id), may_be_empty=True,
    ),
    Setting(
        "schedule.priority", "schedule", Kind.NUMBER, 0, "Priority",
        "From -10 to 10; what is higher goes first where the tenant's runs have to wait for each other.",
        checks.integer(-10, 10),
    ),
    Setting(
        "schedule.deadline_minutes", "schedule", Kind.NUMBER, 1440, "Deadline",
        "A run that has not begun so long after its due time is missed, and somebody is told.",
        checks.integer(1, 43200, "minutes"), unit="minutes",
    ),
    Setting(
        "schedule.attempts", "schedule", Kind.NUMBER, 5, "Attempts",
        "How often a run is tried before it has failed.",
        checks.integer(1, 10, "attempts"),
    ),
)  # fmt: skip
