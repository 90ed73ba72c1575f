"""How a drill ended, in words that name no file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AFTER_DAMAGE = (
    "Run a backup now: what is damaged is sent again while the machine still has it. Then have everything that is"
    " stored read again: manage.py scrub."
)
AFTER_DIFFERENCE = (
    "The snapshot is sound. Run `strongroom drill` on the machine: it names them. Something changed them and put the"
    " time back, or the machine's disk is failing."
)


def of_drill(summary: Mapping[str, Any]) -> tuple[str, str]:
    """What happened and what to do, from a drill's summary; two empty texts when all was well (or nothing is known)."""
    tried, faults, damaged, differ = (_number(summary, name) for name in ("files", "faults", "damaged", "differ"))
    if damaged:
        what = f"{damaged:,} of {tried + faults:,} files that were tried did not come back as they were saved."
        return what, AFTER_DAMAGE
    if faults:
        what = f"{faults:,} of {tried + faults:,} files could not be restored for trial on this machine."
        return what, "Run `strongroom drill` there: it names them. Is there room in the agent's home?"
    if differ:
        what = f"{differ:,} files of the machine are not what the snapshot holds, although size and time are the same."
        return what, AFTER_DIFFERENCE
    return "", ""


def _number(summary: Mapping[str, Any], name: str) -> int:
    value = summary.get(name)
    return value if isinstance(value, int) else 0
