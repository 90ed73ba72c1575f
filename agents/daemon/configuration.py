"""What `agent.toml` may say, and what each mistake in it is called.

The file belongs to the machine. What the platform may start here (hooks, folders for restores) is named in it and
nowhere else, and of each limit the stricter one of this file's and the policy's counts.
"""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

from agents.errors import AgentError, ExitCode

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
MAX_RATE = 100_000_000
"""kbit/s: a hundred gigabit a second, beyond which a limit limits nothing."""
HOOK_SECONDS = 600.0
MOST_NAMES = 100
Name = Annotated[str, Meta(pattern=NAME)]
Moment = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")]
Weekday = Annotated[int, Meta(ge=0, le=6)]
Rate = Annotated[int, Meta(ge=1, le=MAX_RATE)]
AbsolutePath = Annotated[str, Meta(pattern=r"^/[^\x00]*$", max_length=4096)]
Argument = Annotated[str, Meta(max_length=8192)]
ALL_DAYS = (0, 1, 2, 3, 4, 5, 6)


class ConfigurationFault(AgentError):
    """The configuration says something that cannot be."""

    exit_code = ExitCode.USAGE


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the file's tables."""


class Daemon(Section, frozen=True):
    """How the daemon itself behaves."""

    accept_jobs: bool = True
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class BandwidthWindow(Section, frozen=True):
    """A rate for some hours of some days (0 is Monday); `until` may be past midnight. No rate: no limit then."""

    days: tuple[Weekday, ...] = ALL_DAYS
    start: Moment = msgspec.field(default="00:00", name="from")
    until: Moment = "24:00"
    kbit_per_second: Rate | None = None


class Limits(Section, frozen=True):
    """How hard this machine lets itself be pushed."""

    kbit_per_second: Rate | None = None
    bandwidth: tuple[BandwidthWindow, ...] = ()
    adaptive: bool = False
    niceness: Annotated[int, Meta(ge=0, le=19)] = 0
    io_class: Literal["normal", "idle"] = "normal"
    only_on_ac: bool = False
    not_on_metered: bool = False


class Hook(Section, frozen=True):
    """A command of this machine that a policy may name. It is a list, and no shell sees it."""

    command: Annotated[tuple[Argument, ...], Meta(min_length=1, max_length=256)]
    timeout_seconds: Annotated[float, Meta(gt=0, le=86_400)] = HOOK_SECONDS


class Restore(Section, frozen=True):
    """Whether, and into which folders, the platform may have files restored."""

    allow: bool = True
    folders: Annotated[dict[Name, AbsolutePath], Meta(max_length=MOST_NAMES)] = {}


class Privacy(Section, frozen=True):
    """What the platform may be told. `file_names`: the file that is being read, where a policy asks for it."""

    file_names: bool = True


class Configuration(Section, frozen=True):
    """The whole file."""

    daemon: Daemon = Daemon()
    limits: Limits = Limits()
    hooks: Annotated[dict[Name, Hook], Meta(max_length=MOST_NAMES)] = {}
    restore: Restore = Restore()
    privacy: Privacy = Privacy()


def parse(text: bytes, where: str) -> Configuration:
    """Read the file's content; `where` is its name for people. Raises ConfigurationFault."""
    try:
        raw = tomllib.loads(text.decode("utf-8"))
    except UnicodeDecodeError as fault:
        raise ConfigurationFault(f"{where} is not UTF-8 (byte {fault.start}).", "Save it as UTF-8 text.") from None
    except tomllib.TOMLDecodeError as fault:
        said = str(fault)
        raise ConfigurationFault(f"{where} is not TOML: {said[:1].lower()}{said[1:]}.", "Mend that place.") from None
    for sentence in _unknown_keys(raw, Configuration, ""):
        raise ConfigurationFault(f"{where}: {sentence}", "`strongroom config show` lists every setting.")
    try:
        configuration = msgspec.convert(raw, Configuration)
    except msgspec.ValidationError as fault:
        raise ConfigurationFault(
            f"{where}: {_in_words(str(fault))}", "docs/reference/cli.md names the settings."
        ) from None
    _check(configuration, where)
    return configuration


def _check(configuration: Configuration, where: str) -> None:
    """What no type says."""
    for name, hook in configuration.hooks.items():
        if not hook.command[0].startswith("/"):
            raise ConfigurationFault(
                f"{where}: the command of hooks.{name} begins with {hook.command[0]!r}, which is no absolute path.",
                "Name the program by its whole path: what PATH holds is not the same everywhere.",
            )
    for window in configuration.limits.bandwidth:
        if window.start == window.until:
            raise ConfigurationFault(
                f"{where}: a window of limits.bandwidth begins and ends at {window.start}.", "Give it a length."
            )
    for name, folder in configuration.restore.folders.items():
        if ".." in Path(folder).parts:
            raise ConfigurationFault(f"{where}: restore.folders.{name} has '..' in it.", "Name the folder itself.")


def _unknown_keys(raw: dict[str, Any], kind: Any, prefix: str) -> Iterator[str]:
    """Sentences about keys that no setting has, with the nearest one that there is."""
    known = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            yield f"there is no setting '{prefix}{key}'." + (f" Did you mean '{prefix}{near[0]}'?" if near else "")
        else:
            for name, inner, part in _parts(f"{prefix}{key}", value, known[key]):
                yield from _unknown_keys(inner, part, f"{name}.")


def _parts(name: str, value: Any, kind: Any) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """The tables inside a value that have fields of their own: (name, table, kind)."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated or origin in (Union, types.UnionType):
        yield from _parts(name, value, inner[0])
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if isinstance(value, dict):
            yield name, value, kind
    elif origin is dict and isinstance(value, dict):
        for key, each in value.items():
            yield from _parts(f"{name}.{key}", each, inner[1])
    elif origin is tuple and isinstance(value, list):
        for each in value:
            yield from _parts(name, each, inner[0])


def _in_words(said: str) -> str:
    """msgspec's complaint, with the place in front: "Expected `int`, got `str` - at `$.limits.niceness`"."""
    what, _, place = said.partition(" - at ")
    where = place.strip("`").removeprefix("$").lstrip(".")
    if what.startswith("Object missing required field"):
        missing = what.rpartition("field ")[2].strip("`")
        return f"{where or 'the file'} lacks {missing}."
    plain = what[:1].lower() + what[1:].replace("`", "")
    return f"{where}: {plain}." if where else f"{plain}."
