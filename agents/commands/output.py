"""What every verb prints, for people or as JSON: one object a line, the last one the summary.

Names in snapshots and words of the server may be hostile: for people they are escaped; in JSON a name that is not UTF-8
comes escaped and, whole, as base64 beside it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import sys
from typing import Any

from agents.engine.paths import display, plain

LONGEST_SHOWN = 1000
"""Characters of a path in a complaint. Hostile and honest ones may have thousands."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Output:
    """Standard output of one verb. Notes for people go to standard error, and nowhere with `quiet`."""

    def __init__(self, *, as_json: bool, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet

    def text(self, line: str = "") -> None:
        """A line for people."""
        if not self.as_json:
            print(plain(line))

    def record(self, kind: str, **values: Any) -> None:
        """A line for programs."""
        if self.as_json:
            # One call: several threads have something to say, and a line must stay one.
            sys.stdout.write(json.dumps({"message_type": kind, **values}) + "\n")
            sys.stdout.flush()

    def note(self, sentence: str) -> None:
        """Something to know while waiting."""
        if not self.quiet:
            print(plain(sentence), file=sys.stderr, flush=True)

    def complain(self, path: bytes, reason: str) -> None:
        """Name a path that could not be dealt with as it should."""
        print(f"{shortened(path)}: {plain(reason)}", file=sys.stderr, flush=True)

    def warn(self, sentence: str) -> None:
        """Something to know in any case."""
        print(f"warning: {plain(sentence)}", file=sys.stderr, flush=True)


def named(path: bytes, key: str = "path") -> dict[str, str]:
    """A path's fields in JSON: text, and base64 beside it when the bytes are not UTF-8."""
    try:
        return {key: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: display(path), f"{key}_b64": base64.b64encode(path).decode()}


def some(count: int, one: str, many: str) -> str:
    """A number and what is counted."""
    return f"{count:,} {one if count == 1 else many}"


def shortened(path: bytes) -> str:
    """A path for people; of a very long one its two ends, since a thousand of those would bury everything else."""
    shown = display(path)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN // 2]}…{shown[-LONGEST_SHOWN // 2 :]}"


def size(count: int) -> str:
    """Bytes for people."""
    amount, unit = float(count), 0
    while amount >= 1000 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def moment(microseconds: int) -> str:
    """A time for people, in this machine's zone."""
    when = _time(microseconds)
    with contextlib.suppress(OverflowError, OSError, ValueError):  # a time that was made up: UTC is as good
        when = when.astimezone()
    return when.strftime("%Y-%m-%d %H:%M:%S")


def instant(microseconds: int) -> str:
    """A time for programs (RFC 3339, UTC)."""
    return _time(microseconds).isoformat().replace("+00:00", "Z")


def _time(microseconds: int) -> datetime.datetime:
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    try:
        return epoch + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return datetime.datetime.max.replace(tzinfo=datetime.UTC)
