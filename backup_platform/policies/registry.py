"""Every setting that a policy knows, and the one way to check what somebody wrote."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .checks import shown
from .combinations import contradictions, doubts
from .drill_settings import DRILL
from .errors import Fault, SettingRefused
from .machine_settings import HOOKS, LIMITS, PRIVACY
from .retention_settings import RETENTION
from .schedule_settings import SCHEDULE
from .selection_settings import SELECTION
from .setting import SECTIONS, Kind, Section, Setting

__all__ = ["MAX_BYTES", "SECTIONS", "SETTINGS", "Checked", "Fault", "Kind", "Section", "Setting", "check_settings",
           "complete", "defaults", "settings_of"]  # fmt: skip

_ALL = (*SELECTION, *SCHEDULE, *RETENTION, *DRILL, *LIMITS, *HOOKS, *PRIVACY)
SETTINGS: dict[str, Setting] = {one.name: one for one in _ALL}
MAX_BYTES = 64 * 1024
"""One map of settings as JSON. A machine's whole configuration has to fit into one message of 256 KiB."""


@dataclass
class Checked:
    """What came of checking: clean values, what is wrong, and what is odd but kept."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)


def settings_of(section: str) -> list[Setting]:
    """A section's settings, in the order in which a form shows them."""
    return [one for one in SETTINGS.values() if one.section == section]


def defaults() -> dict[str, Any]:
    """Every setting with its default; a map of the caller's own."""
    return {name: copy.deepcopy(one.default) for name, one in SETTINGS.items()}


def complete(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults, overlaid by each layer in turn. Names that are not known (any more) are left out."""
    values = defaults()
    for layer in layers:
        values.update((name, value) for name, value in layer.items() if name in SETTINGS)
    return values


def check_settings(mapping: Any, *, base: Mapping[str, Any] | None = None) -> Checked:
    """Check a map of setting names to values: what a policy sets, or what an assignment overrides.

    `base` is what holds where the map says nothing (for overrides: the values they override); the registry's
    defaults complete it. Never raises: faults and warnings name the setting that they are about.
    """
    found = Checked()
    if not isinstance(mapping, Mapping):
        found.faults.append(Fault("", f"Settings are a map of names to values, not {shown(mapping)}."))
        return found
    for name, value in mapping.items():
        _check_one(found, name, value)
    _check_size(found)
    if not found.faults:
        _check_together(found, complete(base or {}, found.values))
    return found


def _check_one(found: Checked, name: Any, value: Any) -> None:
    setting = SETTINGS.get(name) if isinstance(name, str) else None
    if setting is None:
        found.faults.append(Fault(str(name)[:100], _unknown(str(name))))
        return
    try:
        found.values[setting.name] = setting.check(value)
    except SettingRefused as fault:
        found.faults.append(Fault(setting.name, str(fault)))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "docs/reference/policies.md lists all there are."
    return f"There is no setting {shown(name)}; {hint}"


def _check_size(found: Checked) -> None:
    size = len(json.dumps(found.values))
    if size > MAX_BYTES:
        found.faults.append(Fault("", f"The settings are {size:,} bytes long; at most {MAX_BYTES:,} are kept."))


def _check_together(found: Checked, whole: Mapping[str, Any]) -> None:
    found.faults += contradictions(whole)
    if not found.faults:
        found.warnings += dict.fromkeys(doubts(whole))
