"""What is to come: the next runs of a policy on a machine, with the reasons for odd times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.utils import timezone

from backup_platform.fleet.models import Machine, MachineState

from .effective import application_of
from .following import AFTER
from .models import Policy
from .planned import NEVER, NOTHING_SAVED, Settings, key_of, schedule_text, zone_of
from .timetable import Run, ScheduleFault, explained_runs, of_text

MOST = 50


@dataclass(frozen=True)
class Upcoming:
    """One run to come, as a page or the API shows it."""

    at: datetime
    """UTC."""
    local: datetime
    """The same moment on the clock of the schedule's zone."""
    because: str
    """Why it is not simply at the schedule's time; empty if it is."""
    shifts: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """What is to come, or why nothing is."""

    zone: str
    runs: tuple[Upcoming, ...] = ()
    silence: str = ""
    """Why there are no runs, in one sentence; empty if there are some."""


def preview(policy: Policy, machine: Machine, most: int = 5, now: datetime | None = None) -> Preview:
    """The next runs of a policy on a machine, at most so many (and 50). Call it in the tenant's scope."""
    application = application_of(policy, machine)
    settings = {name: one.value for name, one in application.settings.items()}
    zone = zone_of(settings, machine.zone)
    silence = "" if application.applies else f"{policy.name} does not apply to {machine.name}."
    silence = silence or _standstill(policy, machine)
    if silence:
        return Preview(zone, silence=silence)
    return preview_of(settings, zone, key_of(policy.pk, machine.pk), most, now)


def preview_of(settings: Settings, zone: str, key: str, most: int = 5, now: datetime | None = None) -> Preview:
    """The next runs of complete settings, also of ones that are not saved yet. `key` decides the place in the spread.

    Never raises for wrong settings: the fault is the reason for the silence.
    """
    if not settings.get("selection.sources") and not settings.get("stdin.hook"):
        return Preview(zone, silence=NOTHING_SAVED)
    try:
        timetable = of_text(schedule_text(settings), zone)
    except ScheduleFault as fault:
        return Preview(zone, silence=str(fault))
    if timetable is None:
        return Preview(zone, silence=_without_timetable(settings))
    runs = explained_runs(now or timezone.now(), timetable, key, min(most, MOST))
    return Preview(zone, tuple(_upcoming(run, timetable.zone) for run in runs), "" if runs else NEVER)


def _standstill(policy: Policy, machine: Machine) -> str:
    if machine.state != MachineState.ACTIVE:
        return f"{machine.name} may not connect: {machine.get_state_display().lower()}."
    if policy.paused_at:
        return f"{policy.name} is paused; resume it to let it run."
    return f"{machine.name} is paused; resume it to let it run." if machine.paused_at else ""


def _without_timetable(settings: Settings) -> str:
    if settings.get(AFTER):
        return "It has no timetable of its own: it runs each time that the policy before it has succeeded."
    return "It never runs by itself: it has no timetable."


def _upcoming(run: Run, zone: ZoneInfo) -> Upcoming:
    return Upcoming(run.at, run.at.astimezone(zone), run.because, tuple(run.shifts))
