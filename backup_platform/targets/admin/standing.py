"""How a target stands, in one sentence with the next step: above its form, and asked for again while it is probed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone

from backup_platform.console import showing
from backup_platform.console.parts import check_worker
from backup_platform.console.standing import Standing
from backup_platform.targets.availability import is_slow
from backup_platform.targets.models import Target, TargetState
from backup_platform.targets.probing import Probing, probing_of

PATIENCE = timedelta(seconds=20)
"""A probe that no worker has begun by then is worth a word about workers."""
SLOW = (
    "It is tried again with one pack at a time, after a rest about as long as it was waited for. Backups go on, and "
    "other targets get their copies meanwhile."
)
HOW = "Some objects are written to a folder of their own, read, listed and deleted. It takes up to a minute."
LOCKED = (
    "Object Lock: what is written here cannot be removed from the bucket for {days:,} days, by nobody. What Strongroom "
    "removes stays there as an old version, and is paid for, until its lock has ended and the bucket's own rule for "
    "old versions has removed it."
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands above a target's form."""

    target: Target
    standing: Standing
    moves: bool
    """Whether the page should ask again soon."""
    findings: list[dict[str, Any]]
    """Each step of the last probe: `good`, `words`."""
    probed: Any
    lock: str


def shown_of(target: Target, *, may_act: bool) -> Shown:
    """Everything above the form, in the scope in force. `may_act`: whoever looks may change targets and rules."""
    probing = probing_of(target)
    findings = [] if probing.moves else list(target.flags.get("findings") or [])
    return Shown(target, _stands(target, probing, may_act), probing.moves, findings, showing.moment(target.probed_at),
                 lock_words(target))  # fmt: skip


def lock_words(target: Target) -> str:
    """What Object Lock means at this target, and until when it keeps what was removed; "" without one."""
    if not target.lock_days:
        return ""
    words = LOCKED.format(days=target.lock_days)
    gone = target.copies.filter(state="gone").aggregate(last=Max("written_at"))["last"]  # a relation of the catalogue
    if gone is None:
        return words
    return f"{words} Of the packs that were removed here, the last lock {_ends(gone + timedelta(target.lock_days))}"


def _ends(at: Any) -> str:
    if at < timezone.now():
        return f"ended on {at:%Y-%m-%d}, counted by the days that are set now."
    return f"ends on {at:%Y-%m-%d}, counted by the days that are set now."


def _stands(target: Target, probing: Probing, may_act: bool) -> Standing:
    if target.state == TargetState.RETIRED:
        return Standing("empty", "archive", "It is retired.", "It is empty, and is not asked any more.")
    if probing.moves:
        return _being_probed(probing)
    if probing.failed and not target.flags:
        why = probing.job.last_error if probing.job else ""
        return Standing("warning", "network_check", "The probe came to no end.", f"{why} Press Probe to ask again.")
    if target.away_since is not None:
        return _away(target)
    return _in_its_state(target, may_act)


def _being_probed(probing: Probing) -> Standing:
    job = probing.job
    assert job is not None, "only an unfinished job moves"
    if probing.runs:
        return Standing("busy", "network_check", "It is being probed.", HOW)
    if job.last_error:
        return Standing("busy", "hourglass_top", "It waits to be probed again.", job.last_error)
    if timezone.now() - job.created_at > PATIENCE:
        worker = check_worker()
        why = "The workers are busy with other things." if worker.ok else f"{worker.detail.capitalize()}: start one."
        return Standing("warning", "hourglass_top", "It waits to be probed.", why)
    return Standing("busy", "hourglass_top", "It waits to be probed.", "A worker begins within seconds.")


def _away(target: Target) -> Standing:
    since = f"Since {target.away_since:%Y-%m-%d %H:%M} UTC."
    if target.flags and not target.was_found_good:
        again = "resume it: it is probed first" if target.state == TargetState.PAUSED else "press Probe"
        next_step = f"Put it right, here or at the provider, then {again}."
        return Standing("bad", "error", "It cannot be used.", f"{target.fault} {next_step}")
    if is_slow(target):
        return Standing("bad", "hourglass_top", "It is too slow for packs.", f"{since} {target.fault} {SLOW}")
    waits = "It is asked again every two minutes. Backups go on; what is missing here is copied once it is back."
    return Standing("bad", "cloud_off", "It does not answer.", f"{since} {target.fault} {waits}")


def _in_its_state(target: Target, may_act: bool) -> Standing:
    if target.state == TargetState.NEW:
        return Standing("warning", "network_check", "It is not used yet.",
                        "It is used once a probe has found it good: press Probe.")  # fmt: skip
    if target.state == TargetState.PAUSED:
        return Standing("warning", "pause_circle", "It is paused.",
                        "Nothing is written here until it is resumed. What is here is still read.")  # fmt: skip
    if target.state == TargetState.DRAINING:
        left = target.copies.exclude(state="gone").count()
        there = f"{left:,} {'copy is' if left == 1 else 'copies are'} here still."
        return Standing("busy", "output", "It is being emptied.",
                        f"{there} What is only here is copied elsewhere first; then it retires.")  # fmt: skip
    return _at_work(target, may_act)


def _at_work(target: Target, may_act: bool) -> Standing:
    if target.home:
        return Standing("good", "home_storage", "It is in use.", "Every pack comes here first.")
    rules = apps.get_model("tiering", "TierRule").objects.filter(target=target.pk)
    if not rules.exists():
        add = reverse("admin:tiering_tierrule_add") if may_act else ""
        return Standing("warning", "low_priority", "Nothing is copied here yet.",
                        "It is ready. A tier rule says which packs are copied here, and when.",
                        add, "Add a tier rule")  # fmt: skip
    if not target.flags:
        return Standing("good", "cloud_done", "It is in use.", "It was not probed: press Probe to see what it can do.")
    return Standing("good", "cloud_done", "It is in use.", "It keeps what packs need.")
