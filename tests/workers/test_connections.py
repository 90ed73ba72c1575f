"""A worker's process keeps its database connection, and gets another when the database dropped it."""

from __future__ import annotations

from django.db import connection

from backup_platform import dispatch
from backup_platform.jobs.models import WorkerBeat
from tests.workers.conftest import wait_until

BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def backends() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute(BACKENDS)
        return {pid for (pid,) in cursor.fetchall()}


def beat_once() -> None:
    """Have the worker run a task that writes a row, and wait for the row."""
    WorkerBeat.objects.all().delete()
    dispatch._producer_app().send_task("strongroom.canary", queue="control")
    wait_until(WorkerBeat.objects.exists, "the canary's row")


def test_one_connection_serves_task_after_task_and_a_broken_one_is_replaced(backup, start_worker):
    start_worker()
    beat_once()
    wait_until(backends, "a connection that outlives its task")
    kept = backends()
    beat_once()
    assert backends() == kept
    with connection.cursor() as cursor:
        for pid in kept:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    beat_once()
    assert not backends() & kept
