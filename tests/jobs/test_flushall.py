"""Valkey forgets everything, again and again, while jobs are asked for and done: the rows are the truth."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
import redis
from django.db import connection
from django.db.models import F
from django.utils import timezone

from backup_platform import dispatch
from backup_platform.jobs import agent_jobs, housekeeping, services, waking
from backup_platform.jobs.models import Job
from backup_platform.jobs.running import run_job
from backup_platform.tenants.scope import without_tenant_scope
from tests.jobs.machines import Site

PATIENCE = 120
ROUNDS = 60


@pytest.fixture
def broker(transactional_db, servers, monkeypatch):
    dispatch._producer_app.cache_clear()
    monkeypatch.setattr(dispatch, "_closed_until", 0.0)
    monkeypatch.setattr(waking, "_closed_until", 0.0)
    yield redis.Redis.from_url(servers.valkey_url)
    dispatch._producer_app.cache_clear()


class Crew:
    """Threads that go on until told to stop; what goes wrong in one fails the test."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.faults: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def add(self, work) -> None:
        def run() -> None:
            try:
                while not self.over.is_set():
                    work()
            except BaseException as fault:  # noqa: BLE001 (told by the main thread)
                self.faults.append(fault)
            finally:
                connection.close()

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        assert not self.faults, self.faults[0]


@contextmanager
def crew():
    made = Crew()
    try:
        yield made
    finally:
        made.end()


@dataclass
class Storm:
    """Everybody at work at once. `effects` counts what was really done for each job."""

    broker: redis.Redis
    site: Site
    asked: list[UUID] = field(default_factory=list)
    offered: Counter[UUID] = field(default_factory=Counter)
    effects: Counter[UUID] = field(default_factory=Counter)

    def flush(self) -> None:
        self.broker.flushall()
        time.sleep(0.05)

    def ask(self) -> None:
        for machine in self.site.machines:
            made = self.site.ask(machine, due_at=timezone.now(), settings={"schedule.attempts": 10})
            self.asked.extend([made] if made else [])
        with without_tenant_scope("the platform asks its workers"):
            subject = f"pack:{len(self.asked)}"
            made = services.enqueue("verify", subject=subject, tenant_id=self.site.tenant.pk)
            self.asked.extend([made] if made else [])
        time.sleep(0.02)

    def work_as_worker(self) -> None:
        """Messages that got through, and those that the sweep sends again."""
        message = self.broker.lpop("bk:verify")
        if message is None:
            time.sleep(0.01)
        else:
            run_job(dispatch_id(message), lambda job: self.effects.update([job.pk]))

    def work_as_gateway(self) -> None:
        machines = [machine.pk for machine in self.site.machines]
        for one in agent_jobs.next_offers(machines, threading.current_thread().name, 4):
            self.offered[one.job_id] += 1
            if self.offered[one.job_id] == 1 and one.job_id.int % 4 == 0:
                continue  # this gateway dies with its offer: the lease will run out
            if agent_jobs.accept(one.job_id, one.lease) and agent_jobs.report(one.job_id, one.lease, "done"):
                self.effects[one.job_id] += 1
            agent_jobs.report(one.job_id, one.lease, "done")  # and once more, as after a lost answer
        time.sleep(0.01)

    def sweep(self) -> None:
        """What the sweeps would only do in a quarter of a minute is due now."""
        now = timezone.now()
        with without_tenant_scope("test"):
            old = Job.objects.filter(created_at__lt=now - timedelta(seconds=1))
            old.filter(state="offered").update(lease_until=now - timedelta(seconds=1))
            waiting = Job.objects.filter(state="queued")
            waiting.filter(machine__isnull=True).update(sent_at=now - timedelta(minutes=5))
            waiting.update(next_attempt_at=F("created_at"))
        housekeeping.sweep_now()
        time.sleep(0.05)

    def is_over(self) -> bool:
        with without_tenant_scope("test"):
            return not Job.objects.exclude(state="done").exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_job_is_lost_and_none_done_twice_while_valkey_forgets_everything(broker):
    storm = Storm(broker, Site("north"))
    storm.site.add_machines(8)
    with crew() as band:
        for part in (storm.flush, storm.work_as_worker, storm.work_as_gateway, storm.work_as_gateway, storm.sweep,
                     storm.sweep):  # fmt: skip
            band.add(part)
        for _ in range(ROUNDS):
            storm.ask()
        deadline = time.monotonic() + PATIENCE
        while not storm.is_over():
            assert time.monotonic() < deadline, "some jobs are never done"
            assert not band.faults
            time.sleep(0.1)
    assert len(storm.asked) > ROUNDS
    assert set(storm.effects) == set(storm.asked), "a job was lost, or one was done that nobody asked for"
    assert set(storm.effects.values()) == {1}, "a job was done twice to effect"


def dispatch_id(message: bytes) -> str:
    """The job that a message names."""
    found = re.search(r"[0-9a-f-]{36}", json.loads(message)["headers"]["argsrepr"])
    assert found is not None
    return found.group()
