"""When a worker lives and does no work: told by what reached the database, for each worker by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from backup_platform.console.parts import check_worker
from backup_platform.embedded.readiness import tier_worker_silent, worker_silent
from backup_platform.jobs import liveness, services
from backup_platform.jobs.models import Job, QueueBeat, WorkerBeat
from backup_platform.notifications.models import Alert
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering.lag import tell_unserved

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = timedelta(minutes=6)


class TestDatabase:
    """What the supervisor asks: the database as it is on disk, over a connection of its own."""

    __test__ = False

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self, _: str) -> psycopg.Connection:
        return psycopg.connect(self._url)


@pytest.fixture
def database(servers) -> TestDatabase:
    return TestDatabase(servers.database_url(connection.settings_dict["NAME"]))


def silent(question) -> bool:
    return asyncio.run(question())


def a_running_copy() -> Job:
    with without_tenant_scope("the stage is set"):
        return services.claim(services.enqueue("tier", subject=f"pack:1@{uuid4()}", tenant_id=None))


def both_were_seen(ago: timedelta) -> None:
    WorkerBeat.objects.create(name="w", seen_at=timezone.now() - ago)
    QueueBeat.objects.create(queue="tier", seen_at=timezone.now() - ago)


def test_a_worker_that_was_never_seen_is_still_starting(database):
    assert not silent(worker_silent(database))
    assert not silent(tier_worker_silent(database))
    assert liveness.is_tier_served()


def test_either_worker_is_silent_by_itself(database):
    both_were_seen(LONG_AGO)
    assert silent(worker_silent(database))
    assert silent(tier_worker_silent(database))
    liveness.beat("w")
    assert not silent(worker_silent(database))
    assert silent(tier_worker_silent(database)), "the other worker's word is not its own"
    liveness.beat_of_tier()
    assert not silent(tier_worker_silent(database))


def test_a_tier_worker_whose_processes_are_busy_for_long_is_not_ended(database):
    both_were_seen(LONG_AGO)
    job = a_running_copy()
    assert not silent(tier_worker_silent(database))
    assert liveness.is_tier_served()
    with without_tenant_scope("time passes"):
        Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert silent(tier_worker_silent(database)), "a job that nobody renews speaks for nobody"


def test_a_queue_without_workers_is_told_to_people_and_taken_back():
    both_were_seen(LONG_AGO)
    liveness.beat("w")
    assert check_worker().ok, "backups and restores go on, so the platform is ready"
    assert "queue tier" in check_worker().detail
    tell_unserved()
    with without_tenant_scope("test"):
        assert "No worker of the queue tier" in Alert.objects.get(resolved_at__isnull=True).text
    liveness.beat_of_tier()
    tell_unserved()
    with without_tenant_scope("test"):
        assert not Alert.objects.filter(resolved_at__isnull=True).exists()
    assert check_worker().detail == "at work"
