"""Plans as rows: read under lock, written in lots. Their settings stand once for all the plans that share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID
from zlib import crc32

from django.db import connection
from django.db.models import Exists, OuterRef

from .arrays import numbers
from .models import Plan, PlanSettings
from .planned import Standing

LOT = 1000
LOCK_CLASS = 0x5354_504C
"""First half of the advisory lock's key (jobs.ticks has another); the second is made from the tenant's id."""

SHARED_SQL = """
    INSERT INTO policies_plansettings (tenant_id, digest, values, schedule)
    SELECT %(tenant)s, one.digest, one.settings::jsonb, one.schedule
      FROM unnest(%(digests)s::text[], %(settings)s::text[], %(schedules)s::text[]) AS one (digest, settings, schedule)
        ON CONFLICT (tenant_id, digest) DO UPDATE SET schedule = EXCLUDED.schedule
    RETURNING digest, id
"""
"""The update changes nothing: it is how a row that stands already is returned."""
UPSERT_SQL = """
    INSERT INTO policies_plan (tenant_id, policy_id, machine_id, shared_id, next_run_at, fault, zone, basis,
                               computed_at)
    SELECT %(tenant)s, policy, machine, shared, next_run_at, fault, zone, %(basis)s, %(now)s
      FROM unnest(%(policies)s::uuid[], %(machines)s::uuid[], %(shared)s::bigint[], %(next)s::timestamptz[],
                  %(faults)s::text[], %(zones)s::text[]) AS one (policy, machine, shared, next_run_at, fault, zone)
    ON CONFLICT (policy_id, machine_id) DO UPDATE
       SET shared_id = EXCLUDED.shared_id, next_run_at = EXCLUDED.next_run_at,
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
    shared = _share(tenant_id, {row.settings: row.schedule for row in rows})
    for start in range(0, len(rows), LOT):
        _write_lot(tenant_id, rows[start : start + LOT], shared, basis, now)


def _share(tenant_id: UUID, schedules: Mapping[str, str]) -> dict[str, int]:
    """The ids of the rows that hold these settings: JSON texts, each with its schedule's."""
    if not schedules:
        return {}
    digests = {sha256(text.encode()).hexdigest()[:32]: text for text in schedules}
    ordered = sorted(digests)
    columns: dict[str, Any] = {
        "tenant": tenant_id,
        "digests": ordered,
        "settings": [digests[digest] for digest in ordered],
        "schedules": [schedules[digests[digest]] for digest in ordered],
    }
    with connection.cursor() as cursor:
        cursor.execute(SHARED_SQL, columns)
        return {digests[digest]: pk for digest, pk in cursor.fetchall()}


def _write_lot(tenant_id: UUID, rows: Sequence[Row], shared: Mapping[str, int], basis: str, now: datetime) -> None:
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "basis": basis,
        "now": now,
        "policies": [row.policy_id for row in rows],
        "machines": [row.machine_id for row in rows],
        "shared": numbers(shared[row.settings] for row in rows),
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


def forget_unshared(tenant_id: UUID) -> None:
    """Remove settings that no plan has any more. The caller holds the tenant's lock, so no plan is about to."""
    PlanSettings.objects.filter(~Exists(Plan.objects.filter(shared=OuterRef("pk"))), tenant_id=tenant_id).delete()
