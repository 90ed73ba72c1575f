"""What people are told of numbers that are not listed, and of names that no listed snapshot has."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from agents.engine.absences import Absence, Kind
from agents.engine.paths import plain
from agents.errors import Damage, NotFound

RETENTION = "retention"
"""Whom the server names when its own rules let a snapshot expire, and no person."""
SHORTEST_PREFIX = 4
BRING_BACK = "For some days after its expiry a person can bring it back on the platform."
LISTS = "`strongroom snapshots` lists what there is."


def sentence(absence: Absence) -> str:
    """What is known of these numbers, and who says so."""
    one = absence.first == absence.last
    which = f"Snapshot number {absence.first}" if one else f"Snapshots number {absence.first} to {absence.last}"
    return f"{which} {'is' if one else 'are'} not listed: {reason(absence)}"


def reason(absence: Absence) -> str:
    """Why, as the end of a sentence."""
    if absence.kind is Kind.UNTOLD:
        return "expired, or hidden by the server."
    if absence.kind is Kind.EXPIRED:
        said = f"expired {_when(absence)}{_by(absence)} (as the server records; unsigned)."
        return f"{said} {plain(absence.because)}".rstrip()
    if absence.fault:
        return f"hidden: what the server says of it does not hold. {plain(absence.fault)}"
    return "hidden: the server gives no reason."


def no_such(name: str, absences: Sequence[Absence]) -> NotFound | Damage:
    """The error for a name that nothing listed has: of a snapshot that expired, of one that is hidden, or of none."""
    wanted = name.lower()
    for absence in absences:
        if len(wanted) >= SHORTEST_PREFIX and any(each.hex().startswith(wanted) for each in absence.ids):
            what = f"Snapshot '{name}' is not listed: {reason(absence)}"
            return NotFound(what, BRING_BACK) if absence.kind is Kind.EXPIRED else Damage(what, LISTS)
    hidden = [one for one in absences if one.kind is Kind.HIDDEN]
    also = f" {sentence(hidden[0])}" if hidden else ""
    return NotFound(f"There is no snapshot '{name}'.{also}", LISTS)


def day(microseconds: int) -> str:
    """A date for people, in this machine's zone."""
    try:
        return datetime.datetime.fromtimestamp(microseconds / 1e6, datetime.UTC).astimezone().strftime("%Y-%m-%d")
    except (OverflowError, OSError, ValueError):
        return "a day that cannot be"


def _when(absence: Absence) -> str:
    first, last = day(absence.expired_from), day(absence.expired_until)
    return f"on {first}" if first == last else f"from {first} to {last}"


def _by(absence: Absence) -> str:
    if absence.by == RETENTION:
        return " by rule"
    return f" by {plain(absence.by)}" if absence.by else ""
