"""When a run may begin: inside a window and outside every blackout."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from .blackouts import Blackouts
from .windows import Windows


@dataclass(frozen=True)
class Permission:
    """Windows and blackouts together, on the clock of a zone."""

    zone: ZoneInfo
    windows: Windows
    blackouts: Blackouts

    def holds(self, moment: int) -> bool:
        """Whether a run may begin at this moment."""
        return self.windows.are_open(self.zone, moment) and self.blackouts.ends(moment) is None

    def first_from(self, moment: int, until: int) -> int | None:
        """The first permitted moment not before this one; None if there is none before `until`."""
        while (opened := self.windows.first_open(self.zone, moment, until)) is not None:
            light = self.blackouts.ends(opened)
            if light is None:
                return opened
            moment = light
        return None

    def lasts(self, moment: int, until: int) -> int:
        """Until when permission lasts that holds at `moment`, or `until` if it lasts so long."""
        dark = self.blackouts.next_begin(moment)
        return self.windows.open_until(self.zone, moment, until if dark is None else min(dark, until))

    def refused_since(self, moment: int, since: int) -> int:
        """When the time without permission that holds at `moment` began; not before `since`."""
        while moment > since:
            dark = self.blackouts.begun(moment)
            if dark is not None:
                moment = dark
            elif not self.windows.are_open(self.zone, moment):
                moment = self.windows.last_open(self.zone, moment, since) + 1
            if self.holds(moment - 1):
                break
            moment -= 1
        return max(moment, since)
