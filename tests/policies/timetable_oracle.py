"""A second opinion on timetables: it walks minute by minute, looks at the clock on the wall, and knows no shortcut."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


@cache
def field(word: str, lowest: int, highest: int) -> set[int]:
    """The numbers of a cron field of the plain kinds that the tests make: *, n, a-b, a,b, */n."""
    found: set[int] = set()
    for part in word.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin, end = (lowest, highest) if first == "*" else (int(first), int(last or first))
        found.update(range(begin, end + 1, int(step or 1)))
    return found


class Walk:
    """Every minute of a span of time, and what a schedule makes of it."""

    def __init__(self, begin: datetime, days: int, zone: str) -> None:
        self.zone = ZoneInfo(zone)
        self.minutes = [begin + MINUTE * number for number in range(days * 1440)]
        self.walls = [minute.astimezone(self.zone) for minute in self.minutes]

    def due(self, cron: str) -> list[int]:
        """The numbers of the minutes at which a cron line is due."""
        words = cron.split()
        hours = field(words[1], 0, 23)
        matching = [self._matches(words, wall) for wall in self.walls]
        real = len(hours) == 24
        found = {index for index, wall in enumerate(self.walls) if matching[index] and (real or wall.fold == 0)}
        for index in range(1, len(self.walls)):
            if self.walls[index].utcoffset() != self.walls[index - 1].utcoffset():
                found |= self._at_change(index, words, real)
        return sorted(found)

    def _at_change(self, index: int, words: list[str], real: bool) -> set[int]:
        if real:
            return self._pause_too_long(index, words)
        before = self.walls[index - 1].replace(tzinfo=None) + MINUTE
        after = self.walls[index].replace(tzinfo=None)
        while before < after:
            if self._matches(words, before):
                return {index}
            before += MINUTE
        return set()

    def _pause_too_long(self, index: int, words: list[str]) -> set[int]:
        minutes = field(words[0], 0, 59)
        ring = [minute in minutes for minute in range(60)] * 2
        hits = [number for number, hit in enumerate(ring) if hit]
        usual = max(later - earlier for earlier, later in pairwise(hits))
        back = next(n for n in range(1, 99) if self.walls[index - n].minute in minutes)
        ahead = next(n for n in range(99) if self.walls[min(index + n, len(self.walls) - 1)].minute in minutes)
        return {index} if back + ahead > usual and self._day_matches(words, self.walls[index]) else set()

    def _matches(self, words: list[str], wall: datetime) -> bool:
        if wall.minute not in field(words[0], 0, 59) or wall.hour not in field(words[1], 0, 23):
            return False
        return self._day_matches(words, wall)

    def _day_matches(self, words: list[str], wall: datetime) -> bool:
        of_month = wall.day in field(words[2], 1, 31)
        of_week = (wall.weekday() + 1) % 7 in {one % 7 for one in field(words[4], 0, 6)}
        either = not words[2].startswith("*") and not words[4].startswith("*")
        return wall.month in field(words[3], 1, 12) and (of_month or of_week if either else of_month and of_week)

    def permitted(self, windows: list[dict], blackouts: list[dict]) -> list[bool]:
        """For each minute whether a run may begin."""
        return [
            (not windows or any(self._inside(window, wall) for window in windows))
            and not any(self._dark(blackout, minute) for blackout in blackouts)
            for minute, wall in zip(self.minutes, self.walls, strict=True)
        ]

    def _inside(self, window: dict, wall: datetime) -> bool:
        clock, begin, end = f"{wall.hour:02}:{wall.minute:02}", window["from"], window["until"]
        if begin < end:
            return wall.weekday() in window["days"] and begin <= clock < end
        today = wall.weekday() in window["days"] and clock >= begin
        return today or ((wall.weekday() - 1) % 7 in window["days"] and clock < end)

    def _dark(self, blackout: dict, minute: datetime) -> bool:
        return self._instant(blackout["from"]) <= minute < self._instant(blackout["until"], last=True)

    def _instant(self, written: str, *, last: bool = False) -> datetime:
        if len(written) == 10:
            day = date.fromisoformat(written) + timedelta(days=1 if last else 0)
            return datetime.combine(day, time.min, self.zone).astimezone(UTC)
        return datetime.fromisoformat(written).astimezone(UTC)

    def bases(self, due: list[int], permitted: list[bool], *, once: bool) -> list[int]:
        """The minutes at which runs begin, if there is no jitter."""
        if not once:
            return [index for index in due if permitted[index]]
        found = (next((n for n in range(index, len(permitted)) if permitted[n]), None) for index in due)
        return sorted({index for index in found if index is not None})

    def lasts(self, permitted: list[bool], index: int, most: int) -> int:
        """For how many minutes from this one permission lasts."""
        return next((n for n in range(most) if index + n < len(permitted) and not permitted[index + n]), most)
