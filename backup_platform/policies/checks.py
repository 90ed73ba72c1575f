"""Checks of single values. Each takes what was written and returns what is kept, or raises `SettingRefused`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from .errors import SettingRefused

Check = Callable[[Any], Any]

MAX_LINES = 1000
MAX_LINE = 1000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")


def shown(value: Any) -> str:
    """A value as a sentence quotes it: never longer than a line."""
    text = value if isinstance(value, str) else repr(value)
    return f"“{text if len(text) <= 60 else text[:59] + '…'}”"


def optional(check: Check) -> Check:
    """Nothing (None or an empty text) is fine too and kept as None."""

    def checked(value: Any) -> Any:
        return None if value is None or value == "" else check(value)

    return checked


def yes_or_no(value: Any) -> bool:
    """True or False, nothing that merely looks like it."""
    if not isinstance(value, bool):
        raise SettingRefused(f"{shown(value)} is neither yes nor no; write true or false.")
    return value


def integer(lowest: int, highest: int, unit: str = "") -> Check:
    """A whole number within bounds, both included."""

    def checked(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise SettingRefused(f"{shown(value)} is not a whole number.")
        if not lowest <= value <= highest:
            raise SettingRefused(f"{value} is out of bounds: use {lowest} to {highest} {unit}".rstrip() + ".")
        return value

    return checked


def one_of(choices: Sequence[tuple[str, str]]) -> Check:
    """One of the words that the setting knows."""
    words = [word for word, _ in choices]

    def checked(value: Any) -> str:
        if value not in words:
            raise SettingRefused(f"{shown(value)} is not known here; use one of {', '.join(words)}.")
        return str(value)

    return checked


def text(value: Any) -> str:
    """One line of text of a bounded length."""
    if not isinstance(value, str):
        raise SettingRefused(f"{shown(value)} is not a text.")
    if len(value) > MAX_LINE:
        raise SettingRefused(f"A line of {len(value)} characters is too long; at most {MAX_LINE} are kept.")
    if any(char in value for char in "\0\n\r"):
        raise SettingRefused(f"{shown(value)} holds a line break or a NUL character; write one line.")
    return value


def lines(each: Check) -> Check:
    """A list of texts without doubles, each checked; blank ones are dropped."""

    def checked(value: Any) -> list[str]:
        if not isinstance(value, list):
            raise SettingRefused(f"{shown(value)} is not a list of lines.")
        if len(value) > MAX_LINES:
            raise SettingRefused(f"{len(value)} lines are too many; at most {MAX_LINES} are kept.")
        kept = [each(text(line)) for line in value if not isinstance(line, str) or line.strip()]
        return list(dict.fromkeys(kept))

    return checked


def source(value: str) -> str:
    """An absolute path, of Unix or of Windows."""
    path = value.strip()
    if not ABSOLUTE.match(path):
        raise SettingRefused(f"{shown(path)} is not an absolute path; write it from the top, such as /home.")
    if ".." in re.split(r"[\\/]", path):
        raise SettingRefused(f"{shown(path)} goes up with “..”; write the path that is meant.")
    return path if path == "/" else path.rstrip("/") or "/"


def hook_name(value: Any) -> str:
    """The name of a hook. Never a command: those stand in the machine's own configuration only."""
    name = text(value).strip()
    if not NAME.fullmatch(name):
        raise SettingRefused(
            f"{shown(name)} is not a hook's name; commands stand in the machine's own agent.toml under [hooks.NAME], "
            "and only NAME is written here."
        )
    return name


def file_name(value: Any) -> str:
    """A file's name without directories, as it will stand in the snapshot."""
    name = text(value).strip()
    if not name or name in {".", ".."} or "/" in name or "\\" in name or len(name.encode()) > 255:
        raise SettingRefused(
            f"{shown(name)} is not a file's name; use up to 255 bytes without slashes, such as db.sql."
        )
    return name


def policy_id(value: Any) -> str:
    """A policy's id. Whether it exists, and makes no circle, is the service's question."""
    try:
        return str(value if isinstance(value, UUID) else UUID(text(value)))
    except ValueError:
        raise SettingRefused(f"{shown(value)} is not a policy's id.") from None
