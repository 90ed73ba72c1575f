"""The rule of quotas: tenants whose stored data comes near what they may store, or has reached it."""

from __future__ import annotations

from collections.abc import Iterator

from backup_platform.console.showing import size
from backup_platform.notifications.services import Finding
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.tenants.quotas import NEARLY_FULL
from backup_platform.tenants.stored import Stored, stored_under_quotas

KEY = "quota:stored"
NEARLY = (
    "Let old snapshots expire sooner, leave out what need not be kept, or ask the operator of the platform for a larger"
    " quota. When it is used up, no new backup begins."
)
FULL = (
    "No new backup begins until there is room; nothing stored is lost, and restoring works. Let old snapshots expire,"
    " or ask the operator of the platform for a larger quota."
)


def nearly_used_up() -> Iterator[Finding]:
    """One finding for each tenant that uses nine tenths of its quota of stored data or more."""
    for stored in stored_under_quotas():
        if stored.share is not None and stored.share >= NEARLY_FULL:
            yield _finding(stored)


def _finding(stored: Stored) -> Finding:
    used = f"{size(stored.bytes)} of {size(stored.quota)}"
    level, text, advice = Level.ERROR, f"The quota of stored data is used up: {used}.", FULL
    if not stored.full:
        percent = int((stored.share or 0) * 100)
        level, text, advice = Level.WARNING, f"{percent} % of the quota of stored data is used: {used}.", NEARLY
    return Finding(stored.tenant_id, AlertKind.QUOTA, "tenant", level, text, advice, KEY)
