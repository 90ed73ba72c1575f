"""Windows, blackouts, bandwidth and sizes as people write them in a form: one entry a line.

    Mon-Fri 22:00-06:00          Sat,Sun 00:00-24:00          daily 12:00-13:00
    2026-12-24 until 2026-12-26
    Mon-Fri 08:00-18:00 2000     Sat,Sun 00:00-24:00 unlimited

Reading only finds the parts of a line; the registry's checks say whether they make sense.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from .calendar_checks import DAY_NAMES
from .checks import shown
from .errors import SettingRefused

SHORT = tuple(name[:3] for name in DAY_NAMES)
WORDS = {"daily": range(7), "weekdays": range(5), "weekend": range(5, 7)}
TIMES = re.compile(r"(\d{1,2}:\d{2})\s*(?:-|–|until)\s*(\d{1,2}:\d{2})")
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
POWERS = "kmgt"


def read_lines(text: str, read_one: Callable[[str], Any]) -> list[Any]:
    """Every line that is not blank, read; a fault names the line's number."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(read_one(line.strip()))
            except SettingRefused as fault:
                raise SettingRefused(f"Line {number}: {fault}") from None
    return found


def read_window(line: str) -> dict[str, Any]:
    """`Mon-Fri 22:00-06:00`."""
    times = TIMES.search(line)
    if times is None or line[times.end() :].strip():
        raise SettingRefused(f"{shown(line)} is not a window; write days and times, such as Mon-Fri 22:00-06:00.")
    begin, end = (one.zfill(5) for one in times.groups())
    return {"days": read_days(line[: times.start()]), "from": begin, "until": end}


def read_days(text: str) -> list[int]:
    """Days as `Mon-Fri`, `Sat,Sun`, `daily`, `weekdays`, `weekend`; nothing means every day."""
    days: set[int] = set()
    for part in filter(None, re.split(r"[,\s]+", text.strip().lower())):
        first, dash, last = part.partition("-")
        if part in WORDS:
            days.update(WORDS[part])
        elif dash:
            begin, end = _day(first), _day(last)
            days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
        else:
            days.add(_day(part))
    return sorted(days) if days else list(range(7))


def _day(word: str) -> int:
    for number, name in enumerate(DAY_NAMES):
        if len(word) >= 2 and name.lower().startswith(word):
            return number
    raise SettingRefused(f"{shown(word)} is not a day; use Mon, Tue, Wed, Thu, Fri, Sat, Sun, daily.")


def read_blackout(line: str) -> dict[str, str]:
    """`2026-12-24 until 2026-12-26`; a single date is that day."""
    begin, _, end = (part.strip() for part in line.partition(" until "))
    return {"from": begin, "until": end or begin}


def read_bandwidth(line: str) -> dict[str, Any]:
    """`Mon-Fri 08:00-18:00 2000`, in kbit/s, or `unlimited`."""
    times = TIMES.search(line)
    rate = re.fullmatch(r"(\d+)\s*(?:kbit/s)?|unlimited", line[times.end() :].strip()) if times else None
    if times is None or rate is None:
        raise SettingRefused(f"{shown(line)} is not understood; write such as Mon-Fri 08:00-18:00 2000 (kbit/s).")
    return {**read_window(line[: times.end()]), "kbit_per_second": int(rate[1]) if rate[1] else None}


def days_shown(days: list[int]) -> str:
    """Days as read_days reads them: runs of three and more are joined."""
    if len(days) == 7:
        return "daily"
    runs: list[list[int]] = []
    for day in days:
        if runs and day == runs[-1][-1] + 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    parts = [
        f"{SHORT[run[0]]}-{SHORT[run[-1]]}" if len(run) > 2 else ",".join(SHORT[day] for day in run) for run in runs
    ]
    return ",".join(parts)


def window_shown(rule: dict[str, Any]) -> str:
    """A window as a line."""
    return f"{days_shown(rule['days'])} {rule['from']}-{rule['until']}"


def blackout_shown(rule: dict[str, Any]) -> str:
    """A blackout as a line."""
    return f"{rule['from']} until {rule['until']}"


def bandwidth_shown(rule: dict[str, Any]) -> str:
    """A bandwidth rule as a line."""
    rate = rule["kbit_per_second"]
    return f"{window_shown(rule)} {'unlimited' if rate is None else rate}"


def read_size(text: str) -> int:
    """A number of bytes from `2 GiB`, `500 MB` (10⁶), `4096`."""
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise SettingRefused(f"{shown(text)} is not a size; write such as 500 MiB or 2 GB.")
    power = POWERS.index(found[2].lower()) + 1 if found[2] else 0
    return int(Decimal(found[1]) * (1024 if found[3] else 1000) ** power)


def size_shown(count: int) -> str:
    """A number of bytes as read_size reads it, exactly."""
    for step, power in ((1024, "i"), (1000, "")):
        for number in range(len(POWERS), 0, -1):
            if count % step**number == 0:
                return f"{count // step**number} {POWERS[number - 1].upper()}{power}B"
    return f"{count} B"
