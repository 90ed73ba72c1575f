"""Previews and verdicts as plain data, for the API and commands, and as sentences for people."""

from __future__ import annotations

from typing import Any

from .planning import Decision
from .previewing import MachinePreview, Preview
from .queries import Verdict

OPEN = "as long as that is so"


def preview_as_data(preview: Preview, *, most: int = 10_000) -> dict[str, Any]:
    """A preview as JSON takes it; at most so many snapshots are listed, those that would go first."""
    snapshots = [entry for machine in preview.machines for entry in _entries(machine)]
    snapshots.sort(key=lambda entry: entry["keep"])
    return {
        "at": preview.at.isoformat(),
        "expiring": preview.expiring,
        "newly_expiring": preview.newly,
        "keeping": preview.keeping,
        "bytes_freed": preview.freed.bytes,
        "records_freed": preview.freed.records,
        "unsettled": preview.freed.unsettled,
        "machines_left_out": preview.left_out,
        "takes_effect_at": preview.takes_effect_at.isoformat() if preview.takes_effect_at else None,
        "stopped_machines": [one.machine.name for one in preview.machines if one.stopped],
        "truncated": len(snapshots) > most,
        "snapshots": snapshots[:most],
    }


def _entries(machine: MachinePreview) -> list[dict[str, Any]]:
    return [
        {
            "id": str(one.facts.id),
            "machine": machine.machine.name,
            "received_at": one.facts.received_at.isoformat(),
            "state": one.facts.state,
            "keep": one.keep,
            "reasons": reasons_of(one, series.rules.words()),
            "until": one.until.isoformat() if one.until and not one.is_open else None,
            "expires_now": one.facts.id in machine.going_now,
        }
        for series in machine.judged
        for one in series.decisions
    ]


def reasons_of(decision: Decision, rules: str) -> list[str]:
    """Why it stays, or why it goes."""
    return decision.reasons or [f"nothing keeps it: {rules}"]


def until_words(decision: Decision) -> str:
    """Until when it stays, in words."""
    if not decision.keep:
        return "the next run"
    if decision.is_open or decision.until is None:
        return OPEN
    return f"{decision.until:%Y-%m-%d %H:%M} UTC"


def verdict_words(verdict: Verdict) -> str:
    """Why a snapshot stays and until when, in one line."""
    reasons = "; ".join(reasons_of(verdict.decision, verdict.rules.words()))
    until = until_words(verdict.decision)
    how = f"Stays {until}" if until == OPEN else f"Stays until {until}"
    how = how if verdict.decision.keep else f"Expires with {until}"
    announced = ""
    if verdict.pending is not None and verdict.takes_effect_at is not None:
        announced = f" From {verdict.takes_effect_at:%Y-%m-%d %H:%M} UTC on: {verdict.pending.words()}."
    return f"{how}: {reasons}.{announced}"
