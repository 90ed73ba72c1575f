"""Whether this is a good moment: mains power, and a network that is not paid by the byte. Unknown is a good moment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.daemon.configuration import Limits

POWER = Path("/sys/class/power_supply")
ASK_SECONDS = 3.0
"""Seconds that NetworkManager's own command may take to say what it knows."""
LATER = 600.0
"""Seconds until a job that waits for a better moment should be offered again."""


def hindrance(limits: Limits, settings: Mapping[str, Any]) -> str:
    """Why a backup should wait, in a sentence; "" when nothing speaks against it."""
    if (limits.only_on_ac or settings.get("limits.only_on_ac") is True) and on_mains() is False:
        return "The machine runs on its battery, and backs up only on mains power."
    if (limits.not_on_metered or settings.get("limits.not_on_metered") is True) and on_metered() is True:
        return "The machine's network is metered, and backups wait for one that is not."
    return ""


def on_mains(directory: Path = POWER) -> bool | None:
    """Whether mains power is there; None where nothing says so (a machine without a battery mostly has no supplies)."""
    found = None
    for supply in sorted(directory.glob("*")):
        if _word(supply / "type") not in ("Mains", "USB") or _word(supply / "online") not in ("0", "1"):
            continue
        if _word(supply / "online") == "1":
            return True
        found = False
    return found


def on_metered() -> bool | None:
    """Whether a connected network is metered, as NetworkManager says; None where it cannot be asked."""
    command = shutil.which("nmcli")
    if command is None:
        return None
    try:
        said = subprocess.run(
            [command, "--terse", "--fields", "GENERAL.STATE,GENERAL.METERED", "device", "show"],
            capture_output=True,
            timeout=ASK_SECONDS,
            check=True,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    return read_metered(said)


def read_metered(said: str) -> bool | None:
    """Read nmcli's terse words: of the connected devices (state 100) one is metered, none is, or nobody knows."""
    known: list[bool] = []
    for device in said.split("\n\n"):
        values = dict(line.split(":", 1) for line in device.splitlines() if ":" in line)
        if not values.get("GENERAL.STATE", "").startswith("100"):
            continue
        word = values.get("GENERAL.METERED", "").strip().lower()
        if word.startswith(("yes", "no")):
            known.append(word.startswith("yes"))
    return any(known) if known else None


def _word(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
