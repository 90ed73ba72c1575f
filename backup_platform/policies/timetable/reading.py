"""A policy's settings of its schedule, read once into something that can be asked for times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

from .blackouts import read_blackouts
from .clocks import zone_named
from .cron import Cron, parse_cron
from .faults import ScheduleFault
from .nominal import Interval, Nominal, of_cron
from .permission import Permission
from .windows import read_windows

ASKED = ("kind", "cron", "every_minutes", "jitter_minutes", "windows", "blackouts", "catch_up")
"""The settings `schedule.…` that decide times."""
LONGEST_INTERVAL = 525_600
LONGEST_JITTER = 1440


@dataclass(frozen=True, slots=True)
class Step:
    """A due time, and the base at which what is due may begin. All as moments."""

    since: int
    upto: int
    """Whoever looks for the next step from a moment between these two (both included) finds this one."""
    due: int
    base: int
    room: int
    """Seconds after the base over which machines are spread."""


@dataclass(frozen=True)
class Timetable:
    """A schedule in a zone. Machines differ only by their key (`share_of`)."""

    zone: ZoneInfo
    cron: Cron | None
    every: int
    """Seconds; 0 with a cron line."""
    permission: Permission
    jitter: int
    """Seconds."""
    late_rather_than_never: bool
    """What may not begin at its time begins when it may (`catch_up` once), or not at all (skip).

    An interval has no time of its own, so it always waits: else most machines would never meet a short window.
    """
    steps: list[Step] = field(default_factory=list, compare=False, repr=False)
    """Found before, the newest first (runs.py); always replaced as a whole."""

    def nominal(self, key: str) -> Nominal:
        """The due times of one machine before windows, blackouts and jitter.

        An interval has no wall time to keep, so each machine has its own phase within it.
        """
        if self.cron is not None:
            return of_cron(self.cron, self.zone)
        return Interval(self.every, self._phase(key))

    def _phase(self, key: str) -> int:
        return _hash(f"phase:{key}") % (self.every // 60) * 60


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def share_of(key: str) -> float:
    """A machine's own place within a spread, from 0 up to 1: always the same, and spread evenly."""
    return (_hash(f"jitter:{key}") >> 11) / (1 << 53)


def read(settings: Mapping[str, Any], zone: str) -> Timetable | None:
    """The timetable of settings `schedule.…`; None for one that has none (`kind` none).

    `zone` is an IANA name: what “machine” means is known to the caller. ScheduleFault says what is wrong.
    """
    return of_text(json.dumps({name: settings.get(f"schedule.{name}") for name in ASKED}, sort_keys=True), zone)


@lru_cache(maxsize=4096)
def of_text(text: str, zone: str) -> Timetable | None:
    """As `read`, of a JSON text of the names in ASKED: many plans have the same."""
    asked: dict[str, Any] = json.loads(text)
    kind = asked.get("kind") or "none"
    if kind not in ("none", "cron", "interval"):
        raise ScheduleFault("schedule.kind", f"“{kind}” is no kind of schedule; use none, cron or interval.")
    if kind == "none":
        return None
    place = zone_named(zone)
    return Timetable(
        zone=place,
        cron=parse_cron(str(asked.get("cron") or "")) if kind == "cron" else None,
        every=60 * _minutes(asked, "every_minutes", 1, LONGEST_INTERVAL) if kind == "interval" else 0,
        permission=permission(asked.get("windows"), asked.get("blackouts"), place),
        jitter=60 * _minutes(asked, "jitter_minutes", 0, LONGEST_JITTER),
        late_rather_than_never=kind == "interval" or (asked.get("catch_up") or "once") == "once",
    )


def permission(windows: Any, blackouts: Any, zone: ZoneInfo) -> Permission:
    """When runs may begin, also for a policy without times of its own."""
    return Permission(zone, read_windows(windows or ()), read_blackouts(blackouts or (), zone))


def _minutes(asked: Mapping[str, Any], name: str, lowest: int, highest: int) -> int:
    value = asked.get(name)
    if value is None and lowest == 0:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ScheduleFault(f"schedule.{name}", f"“{value}” is out of bounds; use {lowest} to {highest} minutes.")
    return value
