"""What a rule says, in words."""

from __future__ import annotations

from backup_platform.targets.models import TargetState
from backup_platform.tiering.models import CopyWhen, EvictWhen, TierRule


def copy_words(rule: TierRule) -> str:
    """When packs are copied by it."""
    words = f"{_days(rule.copy_days)} after verifying" if rule.copy_when == CopyWhen.DAYS else ""
    small = "" if rule.at_once else "; small packs wait to be joined"
    return (words or rule.get_copy_when_display()) + small


def evict_words(rule: TierRule) -> str:
    """When packs leave this host by it."""
    if rule.evict_when == EvictWhen.NEVER:
        return "Never"
    words = f"{_days(rule.evict_days)} after verifying" if rule.evict_when == EvictWhen.DAYS else ""
    copies = "1 copy" if rule.min_copies == 1 else f"{rule.min_copies} copies"
    return (
        f"{words or rule.get_evict_when_display()}, once {copies} {'was' if rule.min_copies == 1 else 'were'} read back"
    )


STOPPED = {
    TargetState.NEW: "waits for the target's probe",
    TargetState.PAUSED: "target is paused",
    TargetState.DRAINING: "target is being emptied",
    TargetState.RETIRED: "target is retired",
}


def state_words(rule: TierRule) -> str:
    """Whether anything is copied by it just now, and if not, why."""
    if rule.paused_at:
        return "paused"
    if rule.target.state in STOPPED:
        return STOPPED[TargetState(rule.target.state)]
    return "target is away" if rule.target.away_since else "at work"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
