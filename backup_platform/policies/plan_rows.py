"""Plans as rows: read under lock, written in lots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zlib import crc32

from django.db import connection

from .models import Plan
from .planned import Standing

LOT = 1000
LOCK_CLASS = 0x5354_504C
"""First half of the advisory lock's key (jobs.ticks has another); the second is made from the tenant's id."""

UPSERT_SQL = """
    INSERT INTO policies_plan (tenant_id, policy_id, machine_id, settings, schedule, next_run_at, fault, zone, basis,
                               computed_at)
    SELECT %(tenant)s, policy, machine, (%(settings)s::jsonb[])[number], (%(schedules)s::text[])[number], next_run_at,
           fault, zone, %(basis)s, %(now)s
      FROM unnest(%(policies)s::uuid[], %(machines)s::uuid[], %(numbers)s::int[], %(next)s::timestamptz[],
                  %(faults)s::text[], %(zones)s::text[]) AS one (policy, machine, number, next_run_at, fault, zone)
    ON CONFLICT (policy_id, machine_id) DO UPDATE
       SET settings = EXCLUDED.settings, schedule = EXCLUDED.schedule, next_run_at = EXCLUDED.next_run_at,
           fault = EXCLUDED.fault, zone = EXCLUDED.zone, basis = EXCLUDED.basis, computed_at = EXCLUDED.computed_at
     WHERE policies_plan.tenant_id = %(tenant)s
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A plan to be written. `settings` and `schedule` are JSON texts that many rows share."""

    policy_id: UUID
    machine_id: UUID
    settings: str
    schedule: str
    next_run_at: datetime | None
    fault: str
    zone: str


def lock_tenant(tenant_id: UUID) -> None:
    """Until the transaction ends nobody else plans for this tenant, so that nobody writes what an older look saw."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, crc32(tenant_id.bytes) - 2**31])


def standing_of(
    tenant_id: UUID, policies: Sequence[UUID] | None, machines: Sequence[UUID] | None
) -> dict[tuple[UUID, UUID], tuple[int, Standing]]:
    """The plans that there are, locked in the order of their ids: row id and standing by policy and machine."""
    rows = Plan.objects.filter(tenant_id=tenant_id)
    if policies is not None:
        rows = rows.filter(policy_id__in=policies)
    if machines is not None:
        rows = rows.filter(machine_id__in=machines)
    found = rows.select_for_update().order_by("pk")
    columns = found.values_list("pk", "policy_id", "machine_id", "next_run_at", "last_due_at")
    return {(policy, machine): (pk, Standing(due, last)) for pk, policy, machine, due, last in columns}


def write(tenant_id: UUID, rows: Sequence[Row], basis: str, now: datetime) -> None:
    """Make or change these plans."""
    for start in range(0, len(rows), LOT):
        _write_lot(tenant_id, rows[start : start + LOT], basis, now)


def _write_lot(tenant_id: UUID, rows: Sequence[Row], basis: str, now: datetime) -> None:
    schedules = {row.settings: row.schedule for row in rows}
    numbers = {text: number for number, text in enumerate(schedules, 1)}
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "basis": basis,
        "now": now,
        "settings": list(schedules),
        "schedules": list(schedules.values()),
        "policies": [row.policy_id for row in rows],
        "machines": [row.machine_id for row in rows],
        "numbers": [numbers[row.settings] for row in rows],
        "next": [row.next_run_at for row in rows],
        "faults": [row.fault for row in rows],
        "zones": [row.zone for row in rows],
    }
    with connection.cursor() as cursor:
        cursor.execute(UPSERT_SQL, values)


def forget(tenant_id: UUID, ids: Sequence[int]) -> None:
    """Remove plans of policies that no longer apply."""
    if ids:
        Plan.objects.filter(tenant_id=tenant_id, pk__in=ids).delete()
