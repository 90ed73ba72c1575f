"""What an agent may say of how far it is, and what a page shows of it. Figures and a phase: never a file's name."""

from __future__ import annotations

import re
from typing import Any

PHASES = {
    "scanning": "Looking for what changed",
    "saving": "Saving",
    "finishing": "Finishing",
    "restoring": "Restoring",
    "thawing": "Waiting for cold storage",
}
FIGURES = ("bytes_done", "bytes_total", "files_done", "files_total", "rate", "remaining")
FIGURE = re.compile(r"[A-Za-z][A-Za-z0-9_ ]{0,39}")
LARGEST = 2**63 - 1
LONGEST_NAME = 500


def clean_progress(said: Any) -> dict[str, Any]:
    """The parts of an agent's progress that are known and sound; what is not is left out, without a complaint.

    A file's name stays in; the statement that stores it drops it unless the tenant opted in (`STORE_SQL`).
    """
    if not isinstance(said, dict):
        return {}
    kept: dict[str, Any] = {name: said[name] for name in FIGURES if _is_figure(said.get(name))}
    if said.get("phase") in PHASES:
        kept["phase"] = said["phase"]
    if isinstance(said.get("file"), str):
        kept["file"] = "".join(one for one in said["file"][:LONGEST_NAME] if one.isprintable())
    return kept


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def clean_counts(said: Any) -> dict[str, int]:
    """A report's figures, by names of a few letters and digits: at most fifty. Others no row or page could hold."""
    if not isinstance(said, dict):
        return {}
    sound = {name: value for name, value in said.items() if isinstance(name, str) and FIGURE.fullmatch(name)}
    return {name: int(value) for name, value in list(sound.items())[:50] if _is_count(value)}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def fraction(progress: dict[str, Any]) -> float | None:
    """How much is done, from 0.01 to 0.99; None while nobody knows the whole, or where a bar would only stand still."""
    done, total = progress.get("bytes_done"), progress.get("bytes_total")
    if progress.get("phase") not in ("saving", "restoring") or not done or not total or done >= total:
        return None
    return float(min(max(done / total, 0.01), 0.99))
