"""Checks of times: weekly windows, blackouts, bandwidth by calendar, time zones and cron lines."""

from __future__ import annotations

import difflib
import re
from datetime import date, datetime, time
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from .checks import integer, shown, text
from .errors import SettingRefused

CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
MAX_RULES = 50
MAX_KBIT = 1_000_000_000
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ZONE_WORDS = ("machine", "utc")


def windows(value: Any) -> list[dict[str, Any]]:
    """Weekly windows `{"days", "from", "until"}`; `until` not after `from` means the next day's."""
    return [_checked_window(rule, number, ()) for number, rule in enumerate(_rules(value), 1)]


def bandwidth(value: Any) -> list[dict[str, Any]]:
    """Weekly windows with a bound `kbit_per_second` (None: no bound) that holds while they are open."""
    kept = []
    for number, rule in enumerate(_rules(value), 1):
        window = _checked_window(rule, number, ("kbit_per_second",))
        window["kbit_per_second"] = kbit_per_second(rule["kbit_per_second"])
        kept.append(window)
    return kept


def kbit_per_second(value: Any) -> int | None:
    """A bound in kilobits per second; None: no bound."""
    return None if value is None else int(integer(8, MAX_KBIT, "kbit/s")(value))


def _rules(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(rule, dict) for rule in value):
        raise SettingRefused(f"{shown(value)} is not a list of entries.")
    if len(value) > MAX_RULES:
        raise SettingRefused(f"{len(value)} entries are too many; at most {MAX_RULES} are kept.")
    return value


def _checked_window(rule: dict[str, Any], number: int, further: tuple[str, ...]) -> dict[str, Any]:
    _expect(rule, {"days", "from", "until", *further}, f"Window {number}")
    days = rule["days"]
    if not isinstance(days, list) or any(isinstance(day, bool) or day not in range(7) for day in days):
        raise SettingRefused(f"Window {number}: days are numbers from 0 (Monday) to 6 (Sunday), not {shown(days)}.")
    if not days:
        raise SettingRefused(f"Window {number} has no days, so it never opens; name at least one.")
    begin, end = _clock(rule["from"], number), _clock(rule["until"], number, last="24:00")
    if begin == end:
        raise SettingRefused(
            f"Window {number} opens and closes at {begin}, so it never opens; the whole day is 00:00 until 24:00."
        )
    return {"days": sorted(set(days)), "from": begin, "until": end}


def _expect(rule: dict[str, Any], names: set[str], what: str) -> None:
    if set(rule) != names:
        wrong = sorted(set(rule) ^ names)[0]
        verdict = "is missing" if wrong in names else "is not known"
        raise SettingRefused(f"{what}: {shown(wrong)} {verdict}; it has {', '.join(sorted(names))}.")


def _clock(value: Any, number: int, last: str = "") -> str:
    if isinstance(value, str) and (CLOCK.fullmatch(value) or (last and value == last)):
        return value
    raise SettingRefused(f"Window {number}: {shown(value)} is not a time of day; write it as 00:00 to 23:59.")


def blackouts(value: Any) -> list[dict[str, str]]:
    """Spans in which nothing begins. A date as `until` counts to the end of that day."""
    kept = []
    for number, rule in enumerate(_rules(value), 1):
        _expect(rule, {"from", "until"}, f"Blackout {number}")
        begin, end = _instant(rule["from"], number), _instant(rule["until"], number)
        if not _before(begin, end):
            raise SettingRefused(f"Blackout {number} ends at {rule['until']}, which is not after {rule['from']}.")
        kept.append({"from": str(rule["from"]).strip(), "until": str(rule["until"]).strip()})
    return kept


def _instant(value: Any, number: int) -> date | datetime:
    written = text(value).strip()
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(written)
        except ValueError:
            continue
    raise SettingRefused(
        f"Blackout {number}: {shown(value)} is neither a date such as 2026-12-24 nor a time such as 2026-12-24T18:00."
    )


def _before(begin: date | datetime, end: date | datetime) -> bool:
    """Whether the span has a length; where only one end names its offset, both are read in that offset."""
    first = begin if isinstance(begin, datetime) else datetime.combine(begin, time.min)
    last = end if isinstance(end, datetime) else datetime.combine(end, time.max)
    if (first.tzinfo is None) != (last.tzinfo is None):
        first, last = (one.replace(tzinfo=first.tzinfo or last.tzinfo) for one in (first, last))
    return first < last


@cache
def zone_names() -> frozenset[str]:
    """Every IANA name that this installation knows."""
    return frozenset(available_timezones())


def zone(value: Any) -> str:
    """`machine`, `utc` or an IANA name; for a name that does not exist, the sentence offers some near it."""
    name = text(value).strip()
    if name.lower() in ZONE_WORDS:
        return name.lower()
    if name in zone_names():
        return name
    near = near_zones(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "write a name such as Europe/Berlin, “machine” or “utc”."
    raise SettingRefused(f"There is no time zone {shown(name)}; {hint}")


def near_zones(name: str) -> list[str]:
    """At most three existing zones that look like this name, or whose city does."""
    folded = {known.lower(): known for known in zone_names()}
    wanted = name.lower().replace(" ", "_")
    cities = {known.rpartition("/")[2]: known for known in sorted(folded, reverse=True)}
    near = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.7)
    near += [cities[city] for city in difflib.get_close_matches(wanted, cities, n=3, cutoff=0.7)]
    return [folded[one] for one in dict.fromkeys(near)][:3]


def cron(value: Any) -> str:
    """A cron line of five fields; what is wrong with it is said by the timetable's own parser."""
    from .timetable import parse_cron  # late: the timetable's rooms know the registry

    line = " ".join(text(value).split())
    try:
        parse_cron(line)
    except ValueError as fault:
        raise SettingRefused(getattr(fault, "sentence", str(fault))) from None
    return line
