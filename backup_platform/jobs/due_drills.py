"""The calendar of drills: a tick that asks for those that are due, some at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from backup_platform.catalog.models import Snapshot, SnapshotState
from backup_platform.jobs.drills import Terms, put_on_list
from backup_platform.jobs.models import Job, JobKind, JobState
from backup_platform.jobs.states import Step, take
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

MOST_AT_ONCE = 200
"""Drills that one tick asks for; the next one is a quarter of an hour away."""

# Due: the newest proof is older than the policy says; without any proof, a day after the first good snapshot, and then
# spread over a week, so that a new fleet does not drill in the same hour. Asked for at most once a day: a drill that
# fails comes again tomorrow. Each plan's tenant is its machine's and its policy's.
DUE_SQL = """
    SELECT plan.tenant_id, plan.machine_id, plan.policy_id, policy.name, shared."values", newest.id
      FROM policies_plan plan
      JOIN policies_plansettings shared ON shared.id = plan.shared_id AND shared.tenant_id = plan.tenant_id
      JOIN fleet_machine machine ON machine.id = plan.machine_id AND machine.tenant_id = plan.tenant_id
       AND machine.state = 'active' AND NOT machine.write_only AND machine.paused_at IS NULL
      JOIN policies_policy policy ON policy.id = plan.policy_id AND policy.tenant_id = plan.tenant_id
       AND policy.paused_at IS NULL
     CROSS JOIN LATERAL (
           SELECT coalesce((shared."values" ->> 'drill.every_days')::int, 0) AS days,
                  abs(hashtext(plan.machine_id::text || plan.policy_id::text)::bigint) AS own) every
     CROSS JOIN LATERAL (
           SELECT s.id FROM catalog_snapshot s
            WHERE s.machine_id = machine.id AND s.policy_id = policy.id AND s.state = 'verified'
            ORDER BY s.received_at DESC LIMIT 1) newest
      LEFT JOIN LATERAL (
           SELECT s.proven_at FROM catalog_snapshot s
            WHERE s.machine_id = machine.id AND s.policy_id = policy.id AND s.proven_at IS NOT NULL
            ORDER BY s.proven_at DESC LIMIT 1) proof ON true
      LEFT JOIN LATERAL (
           SELECT s.verified_at FROM catalog_snapshot s
            WHERE s.machine_id = machine.id AND s.policy_id = policy.id AND s.verified_at IS NOT NULL
            ORDER BY s.sequence LIMIT 1) first ON true
     WHERE every.days > 0
       AND %(now)s >= coalesce(
           proof.proven_at + make_interval(days => every.days),
           first.verified_at + interval '1 day'
           + make_interval(mins => (every.own %% (least(every.days, 7) * 1440))::int))
       AND NOT EXISTS (
           SELECT FROM jobs_job job
            WHERE job.machine_id = machine.id AND job.kind = 'drill'
              AND (job.state IN ('queued', 'offered', 'running', 'cancelling')
                   OR job.created_at > %(now)s - interval '20 hours' AND job.spec ->> 'policy_id' = policy.id::text))
     ORDER BY proof.proven_at NULLS FIRST, plan.id LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A drill that is due."""

    tenant_id: UUID
    machine_id: UUID
    snapshot_id: UUID
    terms: Terms


def plan_drills(now: datetime | None = None) -> int:
    """Ask for the drills that are due; how many were. A machine has one at a time, so others of its policies wait."""
    with without_tenant_scope("the calendar of drills concerns every tenant"):
        _withdraw_outdated()
        due = _find_due(now or timezone.now())
    made = 0
    for one in due:
        with tenant_scope(one.tenant_id), transaction.atomic():
            made += put_on_list(one.machine_id, one.tenant_id, one.snapshot_id, one.terms) is not None
    return made


def _find_due(now: datetime) -> list[Due]:
    with connection.cursor() as cursor:
        cursor.execute(DUE_SQL, {"now": now, "most": MOST_AT_ONCE})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return [
        Due(tenant, machine, snapshot, Terms.of(policy, name, _decoded(values)))
        for tenant, machine, policy, name, values, snapshot in rows
    ]


def _decoded(values: Any) -> dict[str, Any]:
    """A cursor gives JSON as text, or decoded, as the driver was told."""
    found: dict[str, Any] = json.loads(values) if isinstance(values, str) else values
    return found


def _withdraw_outdated() -> None:
    """The machine was away for so long that the snapshot it should try has expired: a newer one will be asked for."""
    good = Snapshot.objects.filter(pk=OuterRef("snapshot"), state=SnapshotState.VERIFIED)
    waiting = Job.objects.filter(kind=JobKind.DRILL, state=JobState.QUEUED, origin="schedule", attempts=0)
    outdated = waiting.filter(~Exists(good)).values_list("pk", flat=True)[:MOST_AT_ONCE]
    take(
        Step.WITHDRAW,
        Job.objects.filter(pk__in=list(outdated)),
        last_error="Its snapshot has expired meanwhile.",
        advice="Nothing: a newer one is tried.",
    )
