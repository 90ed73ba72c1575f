"""The settings that say how long snapshots stay. What they come to: retention/planning.py."""

from __future__ import annotations

import re
from typing import Any

from . import checks
from .checks import shown
from .errors import SettingRefused
from .setting import Kind, Setting

TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
MOST = 10_000
SLOTS = (
    ("keep_last", "Newest", "snapshots", "So many of the newest snapshots stay, whatever their age."),
    ("keep_hourly", "Hourly", "hours", "The newest snapshot of each of the last so many hours that have one."),
    ("keep_daily", "Daily", "days", "The newest snapshot of each of the last so many days that have one."),
    ("keep_weekly", "Weekly", "weeks", "The newest snapshot of each of the last so many weeks (Monday to Sunday)."),
    ("keep_monthly", "Monthly", "months", "The newest snapshot of each of the last so many months."),
    ("keep_yearly", "Yearly", "years", "The newest snapshot of each of the last so many years."),
)


def tag(value: Any) -> str:
    """A tag of a snapshot: one word."""
    word = checks.text(value).strip()
    if not TAG.fullmatch(word):
        raise SettingRefused(f"{shown(word)} is no tag; write one word of up to 100 letters, digits and - _ . : signs.")
    return word


def _slot(name: str, label: str, unit: str, text: str) -> Setting:
    return Setting(
        f"retention.{name}", "retention", Kind.NUMBER, 0, label, text, checks.integer(0, MOST, unit), unit=unit
    )


RETENTION = (
    *(_slot(*one) for one in SLOTS),
    Setting(
        "retention.keep_within_days", "retention", Kind.NUMBER, 0, "Everything of the last",
        "Every snapshot stays for so many days.",
        checks.integer(0, 36500, "days"), unit="days",
    ),
    Setting(
        "retention.keep_tags", "retention", Kind.LINES, [], "With a tag",
        "Snapshots that bear one of these tags stay as well, one tag a line. Tags alone let nothing expire.",
        checks.lines(tag),
    ),
    Setting(
        "retention.minimum_age_days", "retention", Kind.NUMBER, 0, "Minimum age",
        "No snapshot expires before it is so many days old, not even by hand. A shorter one counts for new snapshots "
        "only.",
        checks.integer(0, 36500, "days"), unit="days",
    ),
)  # fmt: skip
