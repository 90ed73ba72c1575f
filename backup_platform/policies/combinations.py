"""What single values cannot tell: settings that contradict each other, and patterns that do nothing or everything."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from django.utils import timezone
from pathspec import GitIgnoreSpec

from .checks import shown
from .errors import Fault

Values = Mapping[str, Any]
MAX_STARS = 12
"""In one line: matching takes time that grows with each further star, on every file of every machine."""


def contradictions(values: Values) -> Iterator[Fault]:
    """What cannot work, said of the setting that should change. `values` are complete."""
    if values["stdin.hook"] and not values["stdin.name"]:
        yield Fault("stdin.name", "The output of a hook needs a file's name, such as customers.sql.")
    if values["stdin.name"] and not values["stdin.hook"]:
        yield Fault("stdin.hook", "A file's name was written, but not the hook whose output it is.")
    for name in ("selection.exclude", "selection.include"):
        yield from _broken_patterns(name, values[name])
    yield from _never_comes(values)


def _never_comes(values: Values) -> Iterator[Fault]:
    """A timetable without a single run in years. The machine's own zone is not known here and decides nothing."""
    from .timetable import ScheduleFault, next_run, read  # late: a timetable is needed only where one is checked

    zone = "UTC" if values["schedule.zone"] == "machine" else values["schedule.zone"]
    try:
        timetable = read(values, zone)
        if timetable is not None and next_run(timezone.now(), timetable, "anybody") is None:
            parts = "windows and blackouts" if values["schedule.windows"] or values["schedule.blackouts"] else "line"
            yield Fault(f"schedule.{values['schedule.kind'].replace('interval', 'windows')}",
                        f"This timetable never comes within ten years; change its {parts}.")  # fmt: skip
    except ScheduleFault as fault:
        yield Fault(fault.setting, str(fault))


def _broken_patterns(name: str, patterns: list[str]) -> Iterator[Fault]:
    for pattern in patterns:
        if pattern.count("*") > MAX_STARS:
            yield Fault(name, f"{shown(pattern)} has too many stars; use at most {MAX_STARS}, or several lines.")
        elif not _compiles(pattern):
            yield Fault(name, f"{shown(pattern)} is not a pattern of a .gitignore file; correct the line or remove it.")


def doubts(values: Values) -> Iterator[Fault]:
    """What works and is hardly meant. `values` are complete."""
    for ask in (_selection_doubts, _pattern_doubts, _schedule_doubts, _retention_doubts):
        yield from ask(values)


def _selection_doubts(values: Values) -> Iterator[Fault]:
    sources = values["selection.sources"]
    if not sources and not values["stdin.hook"]:
        yield Fault("selection.sources", "Nothing is saved yet: name at least one source.")
    if sources and values["stdin.hook"]:
        yield Fault("selection.sources", "The sources are not read while the output of a hook is saved.")


def _pattern_doubts(values: Values) -> Iterator[Fault]:
    exclude, include = values["selection.exclude"], values["selection.include"]
    if _leaves_nothing([*exclude, *(f"!{line}" for line in include)]):
        yield Fault("selection.exclude", "These lines leave everything out; nothing would be saved.")
    if include and not exclude:
        yield Fault("selection.include", "Nothing is left out, so there is nothing to take back in.")
    for name, lines in (("selection.exclude", exclude), ("selection.include", include)):
        for line in lines:
            yield from _idle(name, line, values["selection.sources"])


def _leaves_nothing(patterns: list[str]) -> bool:
    """Whether a line of stars and slashes only leaves all out, and none after it takes anything back in."""
    verdict = False
    for line in map(str.strip, patterns):
        if line.startswith("!"):
            verdict = False
        elif "*" in line and not line.strip("*/"):
            verdict = True
    return verdict


def _idle(name: str, line: str, sources: list[str]) -> Iterator[Fault]:
    """A line that can match nothing."""
    if not any(pattern.include is not None for pattern in GitIgnoreSpec.from_lines([line]).patterns):
        why = "it is a comment; for a name that begins with # write \\#" if line.startswith("#") else "it names nothing"
        yield Fault(name, f"{shown(line)} matches nothing: {why}.")
    elif "\\" in line.replace("\\ ", "").replace("\\#", "").replace("\\!", "") and "/" not in line:
        yield Fault(name, f"{shown(line)} matches nothing if its backslashes part directories; write / between them.")
    elif sources and _is_anchored(line) and not any(_may_meet(line, source) for source in sources):
        yield Fault(name, f"{shown(line)} matches nothing: it lies in none of the sources.")


def _is_anchored(line: str) -> bool:
    """A line with a slash before its end is read from the top; others match at any depth."""
    return "/" in line.lstrip("!").rstrip("/")


def _may_meet(line: str, source: str) -> bool:
    """Whether an anchored pattern and a source can have a path in common, step by step until a wildcard."""
    wanted, given = (text.strip("/").split("/") for text in (line.lstrip("!"), source.replace("\\", "/")))
    for left, right in zip(filter(None, wanted), filter(None, given), strict=False):
        if any(char in left for char in "*?["):
            return True
        if left != right:
            return False
    return True


def _compiles(pattern: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([pattern])
    except (ValueError, re.error):
        return False
    return True


def _schedule_doubts(values: Values) -> Iterator[Fault]:
    kind = values["schedule.kind"]
    if kind == "interval" and values["schedule.jitter_minutes"] >= values["schedule.every_minutes"]:
        yield Fault("schedule.jitter_minutes", "The spread is as long as the interval: runs of a machine may bunch.")
    if values["schedule.jitter_minutes"] >= values["schedule.deadline_minutes"]:
        yield Fault("schedule.deadline_minutes", "The deadline lies within the spread: some runs are missed at once.")
    for number, rule in enumerate(values["schedule.blackouts"], 1):
        if _day(rule["until"]) < timezone.now().date():
            yield Fault("schedule.blackouts", f"Blackout {number} is over since {rule['until']}; it can be removed.")


def _retention_doubts(values: Values) -> Iterator[Fault]:
    counted = ("last", "hourly", "daily", "weekly", "monthly", "yearly", "within_days")
    if values["retention.keep_tags"] and not any(values[f"retention.keep_{name}"] for name in counted):
        yield Fault("retention.keep_tags", "Without another rule everything stays anyway; tags change nothing.")


def _day(text: str) -> date:
    read: Callable[[str], date] = date.fromisoformat if len(text) == len("2026-12-24") else datetime.fromisoformat
    found = read(text)
    return found.date() if isinstance(found, datetime) else found
