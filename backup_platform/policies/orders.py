"""Due plans become jobs: a thousand in one statement, and what is there already stays as it is.

The rows are those that `jobs.asking.request_backup` makes, one by one; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

SOURCE = """
      FROM unnest(%(plans)s::bigint[], %(dues)s::timestamptz[], %(notes)s::text[]) AS one (plan, due, note)
      JOIN policies_plan plan ON plan.id = one.plan
      JOIN policies_policy policy ON policy.id = plan.policy_id AND policy.tenant_id = plan.tenant_id
"""


def _number(name: str, lowest: int, highest: int) -> str:
    """SQL for a whole number of the settings within bounds; NULL for anything else, which must not stop a lot."""
    value = f"plan.settings -> 'schedule.{name}'"
    bounded = f"LEAST(GREATEST(({value})::numeric, {lowest}), {highest})::int"
    return f"(CASE WHEN jsonb_typeof({value}) = 'number' THEN {bounded} END)"


COLUMNS = f"""
    INSERT INTO jobs_job (id, tenant_id, kind, subject, dedupe_key, state, attempts, lease_owner, next_attempt_at,
                          sent_count, machine_id, policy_id, due_at, deadline, priority, origin, asked_by, spec,
                          max_attempts, progress, last_error, advice, created_at, finished_at)
    SELECT gen_random_uuid(), plan.tenant_id, 'backup', 'machine:' || plan.machine_id,
           'backup:' || plan.policy_id || ':' || plan.machine_id, %(state)s, 0, '', %(now)s,
           0, plan.machine_id, plan.policy_id, one.due,
           GREATEST(one.due, %(now)s) + {_number("deadline_minutes", 1, 525_600)} * interval '1 minute',
           COALESCE({_number("priority", -10, 10)}, 0), 'schedule', '',
           jsonb_build_object('policy', policy.name, 'policy_id', policy.id, 'settings', plan.settings),
           COALESCE({_number("attempts", 1, 10)}, 5), '{{}}',
"""
QUEUE_SQL = (
    COLUMNS + "'', '', %(now)s, NULL" + SOURCE + " ON CONFLICT DO NOTHING RETURNING id, policy_id, machine_id, due_at"
)
MISSED_SQL = COLUMNS + "one.note, %(advice)s, %(now)s, %(now)s" + SOURCE + " ON CONFLICT DO NOTHING RETURNING id"
NOTE_SQL = """
    INSERT INTO jobs_jobline (job_id, at, level, text)
    SELECT job.id, %(now)s, 'info', one.note
      FROM unnest(%(policies)s::uuid[], %(machines)s::uuid[], %(dues)s::timestamptz[], %(own)s::bool[],
                  %(notes)s::text[]) AS one (policy, machine, due, own, note)
      JOIN jobs_job job ON job.dedupe_key = 'backup:' || one.policy || ':' || one.machine
       AND job.policy_id = one.policy AND job.machine_id = one.machine
       AND job.state IN ('queued', 'offered', 'running', 'cancelling')
       AND COALESCE(job.due_at = one.due, false) = one.own
     WHERE NOT EXISTS (SELECT FROM jobs_jobline line
                        WHERE line.job_id = job.id AND line.at > %(now)s - interval '1 hour'
                          AND left(line.text, 12) = left(one.note, 12))
"""
ADVICE = (
    "Nothing needs to be done: the next time is kept. To have missed runs made up for, let the policy catch up once."
)


@dataclass(frozen=True, slots=True)
class Order:
    """A run of a plan that is due. `note`: what is to be said about it, if anything."""

    plan_id: int
    policy_id: UUID
    machine_id: UUID
    due_at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """A job that was made."""

    job_id: UUID
    policy_id: UUID
    machine_id: UUID
    due_at: datetime


def queue(orders: Sequence[Order], now: datetime) -> list[Made]:
    """Make a job for each order, unless its due time has one or the one before is unfinished; those made."""
    return [Made(*row) for row in _insert(QUEUE_SQL, orders, now, state="queued")] if orders else []


def record_missed(orders: Sequence[Order], now: datetime) -> list[UUID]:
    """Write down runs that nobody will do: finished jobs that say so. The ids of those that were not known yet."""
    found = _insert(MISSED_SQL, orders, now, state="missed", advice=ADVICE) if orders else []
    return [row[0] for row in found]


def note(orders: Sequence[Order], now: datetime, *, own: bool) -> None:
    """Add each order's note to the unfinished job of its policy on its machine; the same at most once an hour.

    `own`: only to a job that was made for this very due time; otherwise only to one that was not.
    """
    noted = [one for one in orders if one.note]
    if noted:
        columns: dict[str, Any] = {
            "now": now,
            "policies": [one.policy_id for one in noted],
            "machines": [one.machine_id for one in noted],
            "dues": [one.due_at for one in noted],
            "own": [own] * len(noted),
            "notes": [one.note for one in noted],
        }
        with connection.cursor() as cursor:
            cursor.execute(NOTE_SQL, columns)


def _insert(sql: str, orders: Sequence[Order], now: datetime, **more: str) -> list[tuple[Any, ...]]:
    columns: dict[str, Any] = {
        "now": now,
        "plans": [one.plan_id for one in orders],
        "dues": [one.due_at for one in orders],
        "notes": [one.note for one in orders],
        **more,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, columns)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
