"""Plans that are due, locked in lots, and how they go on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from .arrays import numbers, seconds
from .models import PlanSettings

LOCK_SQL = """
    SELECT plan.id, plan.policy_id || ':' || plan.machine_id, plan.machine_id,
           floor(extract(epoch FROM plan.next_run_at))::bigint, plan.zone, plan.shared_id,
           machine.state = 'active' AND machine.paused_at IS NULL AND policy.paused_at IS NULL
      FROM policies_plan plan
      JOIN fleet_machine machine ON machine.id = plan.machine_id AND machine.tenant_id = plan.tenant_id
      JOIN policies_policy policy ON policy.id = plan.policy_id AND policy.tenant_id = plan.tenant_id
     WHERE plan.next_run_at <= %(now)s AND plan.shared_id IS NOT NULL
     ORDER BY plan.next_run_at
     LIMIT %(most)s
       FOR UPDATE OF plan SKIP LOCKED
"""
ADVANCE_SQL = """
    UPDATE policies_plan plan
       SET next_run_at = to_timestamp(one.next_run),
           last_due_at = COALESCE(to_timestamp(one.last_due), plan.last_due_at)
      FROM unnest(%(plans)s::bigint[], %(next)s::bigint[], %(last)s::bigint[]) AS one (plan, next_run, last_due)
     WHERE plan.id = one.plan
"""
FAULT_SQL = """
    UPDATE policies_plan plan SET fault = one.fault
      FROM unnest(%(plans)s::bigint[], %(faults)s::text[]) AS one (plan, fault) WHERE plan.id = one.plan
"""


class DuePlan(NamedTuple):
    """A plan whose time has come. (Thousands are made in a tick, and a tuple is made three times as fast.)"""

    id: int
    key: str
    """As `planned.key_of`."""
    machine_id: UUID
    next_run_at: datetime
    zone: str
    shared_id: int
    """The settings that it has, see `schedules_of`."""
    able: bool
    """Neither the machine nor the policy is paused, and the machine may connect."""


class Advance(NamedTuple):
    """How a plan goes on."""

    plan_id: int
    next_run_at: datetime | None
    last_due_at: datetime | None
    """None: as it was."""
    fault: str


def lock_due(now: datetime, most: int) -> list[DuePlan]:
    """Lock plans that are due and that nobody else holds; the longest due first."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK_SQL, {"now": now, "most": most})
        at = datetime.fromtimestamp
        return [
            DuePlan(pk, key, machine, at(due, UTC), zone, shared, able)
            for pk, key, machine, due, zone, shared, able in cursor.fetchall()
        ]


def schedules_of(plans: Iterable[DuePlan]) -> dict[int, str]:
    """The JSON texts of the plans' schedules by `shared_id`; empty where there is none."""
    shared = {plan.shared_id for plan in plans}
    if not shared:
        return {}
    return dict(PlanSettings.objects.filter(pk__in=shared).values_list("pk", "schedule"))


def advance(advances: Sequence[Advance]) -> None:
    """Set when plans are due next. The caller holds their locks."""
    if not advances:
        return
    columns = {
        "plans": numbers(one.plan_id for one in advances),
        "next": seconds(one.next_run_at for one in advances),
        "last": seconds(one.last_due_at for one in advances),
    }
    faulty = [one for one in advances if one.fault]
    with connection.cursor() as cursor:
        cursor.execute(ADVANCE_SQL, columns)
        if faulty:
            faults: dict[str, Any] = {
                "plans": numbers(one.plan_id for one in faulty),
                "faults": [one.fault for one in faulty],
            }
            cursor.execute(FAULT_SQL, faults)
