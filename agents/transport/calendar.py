"""Rates by weekday and hour, in a machine's time zone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MIDNIGHT = 24 * 60
KBIT = 125
"""Bytes of one kilobit."""


@dataclass(frozen=True)
class Window:
    """Hours of some days (0 is Monday) in minutes; a window that ends past midnight belongs to the day it opens on."""

    days: frozenset[int]
    start: int
    until: int
    rate: float | None

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether it is open at this minute of this day."""
        if self.start < self.until:
            return weekday in self.days and self.start <= minute < self.until
        return (weekday in self.days and minute >= self.start) or (
            (weekday - 1) % 7 in self.days and minute < self.until
        )


@dataclass(frozen=True)
class Calendar:
    """The rate of any moment, in bytes a second: of the open windows the strictest, else the default."""

    windows: tuple[Window, ...] = ()
    default: float | None = None

    def rate(self, when: datetime.datetime) -> float | None:
        """The rate at a local time; None is no limit."""
        minute = when.hour * 60 + when.minute
        opened = [window.rate for window in self.windows if window.holds(when.weekday(), minute)]
        return stricter(*opened) if opened else self.default


def stricter(*rates: float | None) -> float | None:
    """The smallest rate; None (no limit) only when every one is."""
    return min((rate for rate in rates if rate is not None), default=None)


def read_calendar(windows: Sequence[dict[str, Any]], default: int | None) -> Calendar:
    """Read windows as policies and agent.toml write them, rates in kbit/s. Raises ValueError, KeyError or TypeError."""
    return Calendar(tuple(map(_window, windows)), _bytes(default))


def _window(raw: dict[str, Any]) -> Window:
    days = frozenset(int(day) for day in raw.get("days") or range(7))
    return Window(days, _minute(raw["from"]), _minute(raw["until"]), _bytes(raw.get("kbit_per_second")))


def _minute(text: str) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if not 0 <= hour * 60 + minute <= MIDNIGHT or not 0 <= minute < 60:
        raise ValueError(f"{text!r} is no time of day")
    return hour * 60 + minute


def _bytes(kbit: int | None) -> float | None:
    return None if kbit is None else float(kbit) * KBIT


def local_now(zone: str = "") -> datetime.datetime:
    """Now in this machine's zone, or in a named one if this machine knows it."""
    if zone:
        import zoneinfo

        try:
            return datetime.datetime.now(zoneinfo.ZoneInfo(zone))
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    return datetime.datetime.now().astimezone()
