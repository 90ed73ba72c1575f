"""What a plan says: when a policy is next due on a machine, or why it never is. Computed, without a database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from .registry import defaults
from .terms import NAMES
from .timetable import ASKED, ScheduleFault, Timetable, next_run, of_text, permission, zone_named
from .timetable.permission import Permission

RULES = 3
"""Raised when the rules of planning change, so that all plans are made again."""
CLOCK_WAS_WRONG = timedelta(days=1)
"""A plan that was due later than this after now was due by a wrong clock of the server."""
SCHEDULE = tuple(dict.fromkeys((*ASKED, *NAMES)))
NOTHING_SAVED = "Nothing is saved yet: name at least one source in the policy."
NEVER = "Its times never come within ten years: change the timetable, the windows or the blackouts."

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the plan's row says so far."""

    next_run_at: datetime | None = None
    last_due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What the plan's row is to say."""

    next_run_at: datetime | None
    fault: str = ""


@cache
def basis() -> str:
    """A fingerprint of the registry's defaults and of these rules: a plan with another one is stale."""
    facts = json.dumps([RULES, defaults()], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def zone_of(settings: Settings, machine_zone: str) -> str:
    """The zone that a schedule is read in. A machine that names none, or one that does not exist, is read in UTC."""
    wanted = str(settings.get("schedule.zone") or "machine")
    if wanted != "machine":
        return "UTC" if wanted.lower() == "utc" else wanted
    try:
        return zone_named(machine_zone).key or "UTC"
    except ScheduleFault:
        return "UTC"


def schedule_text(settings: Settings) -> str:
    """The settings of the schedule, as `timetable.of_text` and `terms.terms_of` read them."""
    return json.dumps({name: settings.get(f"schedule.{name}") for name in SCHEDULE}, sort_keys=True)


def key_of(policy_id: UUID, machine_id: UUID) -> str:
    """What a machine's place within the spread of a policy is computed from."""
    return f"{policy_id}:{machine_id}"


def permission_of(settings: Settings, zone: str) -> Permission:
    """When runs of these settings may begin. Raises ScheduleFault."""
    return permission(settings.get("schedule.windows"), settings.get("schedule.blackouts"), zone_named(zone))


def hindrance(settings: Settings, zone: str, now: datetime) -> str:
    """Why nothing will ever run, in one sentence; empty if something will, or if there is no timetable at all."""
    return Planner(now).plan(settings, zone, "anybody", Standing()).fault


class Planner:
    """Plans many machines at one moment; schedules that never come are searched for once, not for each machine."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self._never: set[tuple[str, str]] = set()

    def plan(self, settings: Settings, zone: str, key: str, standing: Standing, text: str = "") -> Planned:
        """When these settings make a machine due. `text` is their `schedule_text`, if it is known."""
        fault = "" if settings.get("selection.sources") or settings.get("stdin.hook") else NOTHING_SAVED
        try:
            timetable = of_text(text or schedule_text(settings), zone)
            if fault or timetable is None:
                return Planned(None, fault)
            return self._by(timetable, (text, zone), key, standing)
        except ScheduleFault as found:
            return Planned(None, str(found)[:300])

    def _by(self, timetable: Timetable, same: tuple[str, str], key: str, standing: Standing) -> Planned:
        if standing.next_run_at is not None and standing.next_run_at <= self.now:
            return Planned(standing.next_run_at)  # due already: the tick takes it, or says that it was missed
        found = None if same in self._never else next_run(self._since(standing), timetable, key)
        if found is None:
            self._never.add(same)
            return Planned(None, NEVER)
        return Planned(found)

    def _since(self, standing: Standing) -> datetime:
        """Now, or the last due time where the clock was set back: no due time comes again."""
        last = standing.last_due_at
        if last is None or last - self.now > CLOCK_WAS_WRONG:
            return self.now
        return max(self.now, last)
