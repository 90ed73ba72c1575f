"""How reclaim stands, in one sentence with the next step, and who has paused it."""

from __future__ import annotations

from collections.abc import Sequence

from backup_platform.console import showing
from backup_platform.console.standing import Standing
from backup_platform.upkeep.models import ReclaimPause
from backup_platform.upkeep.pauses import Reclaimed

FULL = "What expired keeps its place on disk until it goes on."


def judge(pauses: Sequence[ReclaimPause], now: Reclaimed, everywhere: bool, stored: bool) -> Standing:
    """The worst that is true. `everywhere`: whoever looks sees all tenants; `stored`: some vault holds data."""
    if pauses and (not everywhere or pauses[0].tenant_id is None):
        return Standing("warning", "pause_circle", "Reclaim is paused: no space comes back.", FULL)
    if now.stopped:
        vaults = "1 vault" if now.stopped == 1 else f"{now.stopped:,} vaults"
        return Standing("bad", "error", f"Reclaim has stopped in {vaults}.",
                        "Nothing was taken away. The newest line of each says why, and what to do.")  # fmt: skip
    if pauses:
        tenants = "1 tenant" if len(pauses) == 1 else f"{len(pauses):,} tenants"
        return Standing("warning", "pause_circle", f"Reclaim is paused for {tenants}.", FULL)
    if now.waits_for:
        return Standing("busy", "hourglass_top", "Reclaim waits before it removes anything.", now.waits_for)
    if not now.rounds:
        later = "Each vault is gone through once a day: what no snapshot needs any more is removed."
        return Standing("empty", "recycling", "There was no round yet." if stored else "Nothing is stored yet.", later)
    packs = "1 pack" if now.packs == 1 else f"{showing.number(now.packs)} packs"
    return Standing("good", "recycling", "Space comes back by itself.",
                    f"In the last 30 days {packs} with {showing.size(now.bytes)} were emptied. Each vault is gone "
                    "through once a day.")  # fmt: skip


def shown_pauses(pauses: Sequence[ReclaimPause], *, everywhere: bool, staff: bool) -> list[dict[str, str]]:
    """Who paused it, since when, why. Members are not told who of the platform's people it was, nor their reason."""
    return [_shown(pause, everywhere, staff or not pause.by_staff) for pause in pauses]


def _shown(pause: ReclaimPause, everywhere: bool, told: bool) -> dict[str, str]:
    where = "Everywhere" if pause.tenant is None else pause.tenant.name if everywhere else "Here"
    who = pause.by if told else "the platform's staff"
    return {
        "who": f"{where}: paused by {who} on {pause.since:%Y-%m-%d %H:%M} UTC.",
        "why": f"Why: {pause.reason}" if pause.reason and told else "" if told else "Only they resume it: ask them.",
    }
