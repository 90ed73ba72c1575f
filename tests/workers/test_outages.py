"""The database or the worker is killed in the middle of a verify: the job goes on soon, and counts no attempt for it.

*In the middle* is certain, not likely: the test holds a lock on the pack's row, for which the worker's statement waits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from psycopg import sql

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.embedded.postgres import APPLICATION, OWNER
from backup_platform.jobs.models import Job
from backup_platform.jobs.services import MAX_ATTEMPTS
from backup_platform.jobs.sweeping import sweep
from tests.catalog.stage import contents
from tests.workers.conftest import wait_until

BLOCKED = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = %s AND usename = %s AND wait_event_type = 'Lock'"""
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s"


class Database:
    """The test database, seen from another one of the same server."""

    def __init__(self, servers) -> None:
        self.name = connection.settings_dict["NAME"]
        self._outside = psycopg.connect(servers.database_url("postgres", role=OWNER), autocommit=True)
        self._inside = servers.database_url(self.name, role=OWNER)

    def close(self) -> None:
        self.comes_back()
        self._outside.close()

    @contextmanager
    def holding(self, pack: Pack) -> Iterator[None]:
        """Nobody else changes the pack's row meanwhile; ends when the block does, or with the database."""
        with psycopg.connect(self._inside) as own:
            own.execute("SELECT 1 FROM catalog_pack WHERE id = %s FOR UPDATE", [pack.pk])
            yield
            own.rollback()

    def wait_for_the_worker(self) -> None:
        """Until a statement of the worker waits for a lock."""
        wait_until(lambda: self._outside.execute(BLOCKED, [self.name, APPLICATION]).fetchone()[0], "in the middle")

    def goes_away(self) -> None:
        """Every connection of the platform is broken off, and no new one is let in."""
        self._let_in(allowed=False)
        self._outside.execute(TERMINATE, [self.name, APPLICATION])

    def comes_back(self) -> None:
        self._let_in(allowed=True)

    def _let_in(self, *, allowed: bool) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        self._outside.execute(statement.format(sql.Identifier(self.name), sql.SQL("true" if allowed else "false")))


@pytest.fixture
def database(backup, servers) -> Iterator[Database]:
    found = Database(servers)
    yield found
    found.close()


@pytest.mark.slow
def test_a_database_that_dies_in_the_middle_again_and_again_costs_no_attempt(backup, start_worker, database):
    committed = backup.run(contents(20))
    pack = Pack.objects.get()
    job = Job.objects.get(subject=f"pack:{pack.pk}", kind="verify")
    start_worker()
    for _ in range(MAX_ATTEMPTS + 1):
        with database.holding(pack):
            send_now(job)
            database.wait_for_the_worker()
            database.goes_away()
        database.comes_back()
        wait_until(lambda: state_of(job) == ("queued", 0, 0), "written down as soon as the database is back")
    wait_until(lambda: verified(committed, job), "verified soon after the last one")
    assert not Job.objects.exclude(state="done").exists()


@pytest.mark.slow
def test_a_worker_that_is_killed_in_the_middle_is_replaced_at_once(backup, start_worker, database):
    """Its lease is long, so only the death of its process can tell."""
    committed = backup.run(contents(20))
    pack = Pack.objects.get()
    job = Job.objects.get(subject=f"pack:{pack.pk}", kind="verify")
    worker = start_worker()
    with database.holding(pack):
        send_now(job)
        database.wait_for_the_worker()
        for pid in [*children_of(worker.pid), worker.pid]:
            os.kill(pid, signal.SIGKILL)
        worker.wait()
        Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() + timedelta(hours=1))
    start_worker()  # its first sweep finds the job
    wait_until(lambda: state_of(job)[0] == "done" or (sweep(), False)[1], "taken up again")
    wait_until(lambda: verified(committed, job), "verified")


def send_now(job: Job) -> None:
    Job.objects.filter(pk=job.pk, state="queued").update(next_attempt_at=timezone.now(), sent_at=None)
    sweep()


def verified(committed, job: Job) -> bool:
    send_now(job)
    Job.objects.filter(state="queued").update(next_attempt_at=timezone.now())
    unfinished = Job.objects.exclude(state="done").exists()
    return not unfinished and Snapshot.objects.get(pk=committed.snapshot).state == "verified"


def state_of(job: Job) -> tuple[str, int, int]:
    job.refresh_from_db()
    return job.state, job.attempts, job.lost


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
