"""Due plans become jobs: a thousand in one statement, and what is there already stays as it is.

The rows are those that `jobs.asking.request_backup` makes, one by one; a test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from .arrays import numbers, seconds
from .terms import TOLD, Terms

# What a job is told is the same for all plans of a policy that share their settings, so it is put together once.
ORDERS = """
    WITH one AS MATERIALIZED (
        SELECT asked.*, plan.tenant_id, plan.policy_id, plan.machine_id, plan.shared_id
          FROM unnest(%(plans)s::bigint[], %(dues)s::bigint[], %(deadlines)s::bigint[], %(priorities)s::smallint[],
                      %(attempts)s::smallint[], %(errors)s::text[])
               AS asked (plan, due, deadline, priority, attempts, note)
          JOIN policies_plan plan ON plan.id = asked.plan
    ), told AS MATERIALIZED (
        SELECT policy.id AS policy_id, shared.id AS shared_id,
               jsonb_build_object('policy', policy.name, 'policy_id', policy.id, 'settings', (
                   SELECT COALESCE(jsonb_object_agg(key, value), '{}') FROM jsonb_each(shared.values)
                    WHERE split_part(key, '.', 1) = ANY(%(told)s))) AS spec
          FROM (SELECT DISTINCT tenant_id, policy_id, shared_id FROM one) pair
          JOIN policies_policy policy ON policy.id = pair.policy_id AND policy.tenant_id = pair.tenant_id
          JOIN policies_plansettings shared ON shared.id = pair.shared_id AND shared.tenant_id = pair.tenant_id
    )
    INSERT INTO jobs_job (id, tenant_id, kind, subject, dedupe_key, state, attempts, lease_owner, next_attempt_at,
                          sent_count, machine_id, policy_id, due_at, deadline, priority, origin, asked_by, spec,
                          max_attempts, progress, last_error, advice, created_at, finished_at)
    SELECT gen_random_uuid(), one.tenant_id, 'backup', 'machine:' || one.machine_id,
           'backup:' || one.policy_id || ':' || one.machine_id, %(state)s, 0, '', %(now)s, 0, one.machine_id,
           one.policy_id, to_timestamp(one.due), to_timestamp(one.deadline), one.priority, 'schedule', '', told.spec,
           one.attempts, '{}', COALESCE(one.note, ''), %(advice)s, %(now)s, %(finished)s
      FROM one JOIN told USING (policy_id, shared_id)
        ON CONFLICT DO NOTHING
"""
QUEUE_SQL = ORDERS + " RETURNING dedupe_key"
MISSED_SQL = ORDERS + " RETURNING id"
NOTE_SQL = """
    INSERT INTO jobs_jobline (job_id, at, level, text)
    SELECT job.id, %(now)s, 'info', one.note
      FROM unnest(%(keys)s::text[], %(dues)s::timestamptz[], %(own)s::bool[], %(notes)s::text[])
           AS one (key, due, own, note)
      JOIN jobs_job job ON job.dedupe_key = 'backup:' || one.key
       AND job.state IN ('queued', 'offered', 'running', 'cancelling')
       AND COALESCE(job.due_at = one.due, false) = one.own
     WHERE NOT EXISTS (SELECT FROM jobs_jobline line
                        WHERE line.job_id = job.id AND line.at > %(now)s - interval '1 hour'
                          AND left(line.text, 12) = left(one.note, 12))
"""
ADVICE = (
    "Nothing needs to be done: the next time is kept. To have missed runs made up for, let the policy catch up once."
)


class Order(NamedTuple):
    """A run of a plan that is due. `note`: what is to be said about it, if anything."""

    plan_id: int
    key: str
    """As `planned.key_of`."""
    due_at: datetime
    terms: Terms
    note: str = ""


def queue(orders: Sequence[Order], now: datetime) -> set[str]:
    """Make a job for each order, unless its due time has one or the one before is unfinished; their keys."""
    columns: dict[str, Any] = {"state": "queued", "errors": [], "advice": "", "finished": None}
    return {key.removeprefix("backup:") for key in _insert(QUEUE_SQL, orders, now, columns)}


def record_missed(orders: Sequence[Order], now: datetime) -> list[UUID]:
    """Write down runs that nobody will do: finished jobs that say so. The ids of those that were not known yet."""
    columns = {"state": "missed", "errors": [one.note for one in orders], "advice": ADVICE, "finished": now}
    return _insert(MISSED_SQL, orders, now, columns)


def note(orders: Sequence[Order], now: datetime, *, own: bool) -> None:
    """Add each order's note to the unfinished job of its policy on its machine; the same at most once an hour.

    `own`: only to a job that was made for this very due time; otherwise only to one that was not.
    """
    noted = [one for one in orders if one.note]
    if noted:
        columns: dict[str, Any] = {
            "now": now,
            "keys": [one.key for one in noted],
            "dues": [one.due_at for one in noted],
            "own": [own] * len(noted),
            "notes": [one.note for one in noted],
        }
        with connection.cursor() as cursor:
            cursor.execute(NOTE_SQL, columns)


def _insert(sql: str, orders: Sequence[Order], now: datetime, more: dict[str, Any]) -> list[Any]:
    """The one column that the statement returns."""
    if not orders:
        return []
    columns: dict[str, Any] = {
        "now": now,
        "told": list(TOLD),
        "plans": numbers(one.plan_id for one in orders),
        "dues": seconds(one.due_at for one in orders),
        "deadlines": seconds(_deadline(one, now) for one in orders),
        "priorities": numbers(one.terms.priority for one in orders),
        "attempts": numbers(one.terms.attempts for one in orders),
        **more,
    }
    with connection.cursor() as cursor:
        cursor.execute(sql, columns)
        return [row[0] for row in cursor.fetchall()]


def _deadline(order: Order, now: datetime) -> datetime | None:
    """Counted from now where the run is late: it has its whole time before it."""
    return None if order.terms.patience is None else max(order.due_at, now) + order.terms.patience
