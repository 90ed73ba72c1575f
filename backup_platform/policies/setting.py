"""What a setting is: its name, its default, what it means, how it is checked and how a form shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .checks import Check


class Kind(StrEnum):
    """How a form asks for a setting."""

    YES_NO = "yes_no"
    NUMBER = "number"
    SIZE = "size"
    CHOICE = "choice"
    TEXT = "text"
    LINES = "lines"
    WINDOWS = "windows"
    BLACKOUTS = "blackouts"
    BANDWIDTH = "bandwidth"
    ZONE = "zone"
    CRON = "cron"
    POLICY = "policy"


@dataclass(frozen=True)
class Section:
    """A heading under which settings stand together."""

    name: str
    label: str
    help: str


@dataclass(frozen=True)
class Setting:
    """One setting of a policy. `check` takes what was written, and returns what is kept or raises SettingRefused."""

    name: str
    section: str
    kind: Kind
    default: Any
    label: str
    help: str
    check: Check
    unit: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    may_be_empty: bool = False
    """Whether None is a value of it."""


SECTIONS = (
    Section("selection", "What is saved", "Sources on the machine, and what is left out of them."),
    Section("schedule", "When it runs", "The timetable, and what happens to runs that could not begin."),
    Section(
        "retention",
        "How long snapshots stay",
        "Each rule looks at all snapshots of this policy on a machine, in the machine's time zone; what any rule keeps "
        "stays. Nothing set: everything stays. The newest good snapshot always stays. Keeping less takes effect after "
        "a delay.",
    ),
    Section(
        "drill",
        "Proving that it can be restored",
        "The machine restores a sample of its own files for trial, and throws it away.",
    ),
    Section("limits", "How hard it pushes", "Bandwidth, processor, disk and power."),
    Section(
        "hooks",
        "Hooks on the machine",
        "Only names: the commands stand in the machine's own agent.toml, so that a server can never run one.",
    ),
    Section("privacy", "What the server may see", "The server never sees content, whatever is chosen here."),
)
