"""The five fields of a cron line: what may stand in each, and how a wrong one is told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .faults import ScheduleFault

SETTING = "schedule.cron"
MOST = 200
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
PART = re.compile(r"(?P<first>\*|[0-9]{1,4}|[a-z]{3})(?:-(?P<last>[0-9]{1,4}|[a-z]{3}))?(?:/(?P<step>[0-9]{1,4}))?")


@dataclass(frozen=True)
class Field:
    """One of the five, with its bounds and, where it has them, its names."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = field(default=(), repr=False)

    @property
    def advice(self) -> str:
        """What may be written, for the end of a sentence."""
        named = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        return f"use {self.lowest} to {self.highest}{named}"


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY = Field("day of month", 1, 31)
MONTH = Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
WEEKDAY = Field("day of week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


def refused(what: str) -> ScheduleFault:
    """A fault of the cron line."""
    return ScheduleFault(SETTING, f"The cron line cannot be used: {what}")


def split(text: str) -> list[str]:
    """The five words of a line, in lower case."""
    words = text.lower().split() if len(text) <= MOST else []
    if len(words) == 1 and words[0] in MACROS:
        raise refused(f"for {words[0]} write {MACROS[words[0]]}.")
    if len(words) != len(FIELDS):
        given = f"{len(words)} were given" if len(text) <= MOST else f"it is longer than {MOST} characters"
        wanted = ", ".join(one.name for one in FIELDS)
        raise refused(f"it has five fields ({wanted}), and {given}; 30 1 * * mon-fri is half past one on working days.")
    return words


def read_field(field: Field, word: str) -> frozenset[int]:
    """The numbers that a field names."""
    found: set[int] = set()
    for part in word.split(","):
        found.update(_read_part(field, part))
    return frozenset(found)


def _read_part(field: Field, part: str) -> range:
    match = PART.fullmatch(part)
    if match is None or (match["first"] == "*" and match["last"]):
        raise refused(
            f"“{part[:40]}” is not understood in the field {field.name}; write a number, a range such as "
            f"{field.lowest}-{field.lowest + 4}, a list with commas, * or a step such as */2."
        )
    first, last = _bounds(field, match["first"], match["last"], stepped=bool(match["step"]))
    step = int(match["step"] or 1)
    if not 1 <= step <= field.highest:
        raise refused(f"the step in “{part}” of the field {field.name} is out of bounds; use 1 to {field.highest}.")
    return range(first, last + 1, step)


def _bounds(field: Field, first: str, last: str | None, *, stepped: bool) -> tuple[int, int]:
    if first == "*":
        return field.lowest, 6 if field is WEEKDAY else field.highest
    begin = _number(field, first)
    end = _number(field, last) if last else (field.highest if stepped else begin)
    if field is WEEKDAY and last and end == 0 < begin:
        end = 7  # fri-sun goes through to the week's end
    if begin > end:
        raise refused(
            f"the range {first}-{last} of the field {field.name} goes backwards; write two ranges with a comma."
        )
    return begin, end


def _number(field: Field, word: str) -> int:
    if word in field.names:
        return field.names.index(word) + (1 if field is MONTH else 0)
    if word.isdigit() and field.lowest <= int(word) <= field.highest:
        return int(word)
    raise refused(f"“{word}” is out of bounds in the field {field.name}; {field.advice}.")
