"""What a rule says, in words."""

from __future__ import annotations

from backup_platform.targets.models import TargetState
from backup_platform.tiering.models import CopyWhen, EvictWhen, TierRule


def copy_words(rule: TierRule) -> str:
    """When packs are copied by it."""
    words = _after(rule.copy_days) if rule.copy_when == CopyWhen.DAYS else ""
    small = "" if rule.at_once else "; small packs wait to be joined"
    return (words or rule.get_copy_when_display()) + small


def evict_words(rule: TierRule) -> str:
    """When packs leave this host by it."""
    if rule.evict_when == EvictWhen.NEVER:
        return "Never"
    words = _after(rule.evict_days) if rule.evict_when == EvictWhen.DAYS else ""
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


def packs_words(count: int) -> str:
    """So many packs."""
    return "1 pack" if count == 1 else f"{count:,} packs"


def _after(days: int) -> str:
    if not days:
        return "As soon as it is verified"
    return f"{'1 day' if days == 1 else f'{days} days'} after verifying"
