"""The tick: plans that are due become jobs. It may come late, twice, from two beats at once, or die half-way.

A lot of plans is locked (rows that another tick holds are left to it), their jobs are made and their next times set in
one transaction. A tick that dies takes nothing with it; the unique due time of a job keeps a doubled one harmless.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import transaction

from backup_platform.jobs.telling import tell
from backup_platform.jobs.waking import wake_all
from backup_platform.tenants.scope import without_tenant_scope

from . import orders
from .due_plans import Advance, DuePlan, advance, lock_due, schedules_of
from .followers import after_job_ended, again
from .lateness import Decision, decide, is_missed
from .orders import Order
from .planned import NEVER
from .terms import Terms, terms_of
from .timetable import ScheduleFault, Timetable, of_text

__all__ = ["Ticked", "after_job_ended", "tick"]

logger = logging.getLogger(__name__)

LOT = 5000
PATIENCE = 60.0
"""Seconds after which a tick leaves the rest to the next one."""
MOST_TOLD = 200
"""Missed runs of a lot that raise alerts at once; the rest is found by the sweep of alerts."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one tick did: plans that were due, jobs made, runs marked as missed, plans whose run was not finished."""

    due: int = 0
    made: int = 0
    missed: int = 0
    busy: int = 0

    def __add__(self, other: Ticked) -> Ticked:
        return Ticked(self.due + other.due, self.made + other.made, self.missed + other.missed, self.busy + other.busy)


def tick(now: datetime) -> Ticked:
    """Turn every plan that is due at `now` into a job, and set when it is due next."""
    done, begun = Ticked(), time.monotonic()
    with without_tenant_scope("the tick looks after every tenant's plans"):
        while True:
            lot = _tick_lot(now)
            done += lot
            if lot.due < LOT or time.monotonic() - begun > PATIENCE:
                break
    if done.due:
        logger.info("Plans were due.", extra={"due": done.due, "made": done.made, "missed": done.missed})
    return done


@dataclass
class _Lot:
    """What is to be done with the plans of one lot."""

    run: list[Order] = field(default_factory=list)
    missed: list[Order] = field(default_factory=list)
    advances: list[Advance] = field(default_factory=list)


def _tick_lot(now: datetime) -> Ticked:
    with transaction.atomic():
        plans = lock_due(now, LOT)
        schedules, lot = schedules_of(plans), _Lot()
        for plan in plans:
            _sort(plan, schedules.get(plan.shared_id, ""), now, lot)
        made = orders.queue(lot.run, now)
        missed = orders.record_missed(lot.missed, now)
        busy = _say(lot.run, made, now)
        advance(lot.advances)
        tell(missed[:MOST_TOLD])
        wake_all({plan.machine_id for plan in plans if plan.key in made})
    return Ticked(len(plans), len(made), len(missed), busy)


def _sort(plan: DuePlan, schedule: str, now: datetime, lot: _Lot) -> None:
    """Decide about one plan. What cannot be decided never stops the others."""
    fault = ""
    try:
        timetable = of_text(schedule, plan.zone or "UTC") if plan.able and schedule else None
        if timetable is not None:
            _order(plan, terms_of(schedule), now, timetable, lot)
            return
    except (ScheduleFault, ValueError) as found:
        fault = str(found)[:300]
    lot.advances.append(Advance(plan.id, None, None, fault))


def _order(plan: DuePlan, terms: Terms, now: datetime, timetable: Timetable, lot: _Lot) -> None:
    decision = decide(plan.next_run_at, now, timetable, plan.key)
    fault = "" if decision.next_run_at else NEVER
    lot.advances.append(Advance(plan.id, decision.next_run_at, decision.due_at, fault))
    if terms.catches_up:
        lot.run.append(_order_of(plan, decision.due_at, terms, _late(decision) if decision.passed else ""))
    elif is_missed(decision, now):
        lot.missed.append(_order_of(plan, decision.due_at, terms, _missed(decision)))
    else:
        lot.run.append(_order_of(plan, decision.due_at, terms))
        if decision.passed:
            lot.missed.append(_order_of(plan, plan.next_run_at, terms, _missed(decision)))


def _late(decision: Decision) -> str:
    return f"Late: {decision.passed_in_words} passed while the platform was not at work; this one stands for them."


def _missed(decision: Decision) -> str:
    also = f" So did {decision.passed_in_words}." if decision.passed else ""
    return f"Its time passed while the platform was not at work, and its policy leaves out missed runs.{also}"


def _order_of(plan: DuePlan, due_at: datetime, terms: Terms, note: str = "") -> Order:
    return Order(plan.id, plan.key, due_at, terms, note)


def _say(wanted: Sequence[Order], made: set[str], now: datetime) -> int:
    """Note what is worth a line: late runs, and runs that were due while the one before was not finished."""
    late = [one for one in wanted if one.note and one.key in made]
    busy = [one._replace(note=again(one.due_at)) for one in wanted if one.key not in made]
    orders.note(late, now, own=True)
    orders.note(busy, now, own=False)
    return len(busy)
