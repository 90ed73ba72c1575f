"""Two ticks at once, two beats, a tick that is killed half-way: nothing is doubled, nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from backup_platform.jobs.models import Job
from backup_platform.policies import ticking
from backup_platform.policies.models import Plan
from backup_platform.policies.planning import replan
from backup_platform.policies.ticking import tick
from backup_platform.tenants.scope import without_tenant_scope
from tests.policies.conftest import make_place

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = {
    "schedule.kind": "cron",
    "schedule.cron": "0 * * * *",
    "schedule.zone": "utc",
    "schedule.jitter_minutes": 0,
    "selection.sources": ["/home"],
}
PATIENCE = 60

KILLED = """
import sys, time
import django
django.setup()
from datetime import datetime
from backup_platform.policies import orders, ticking
advance = ticking.advance
def stay(advances):
    advance(advances)
    print("half-way", flush=True)
    time.sleep(300)
ticking.advance = stay
ticking.tick(datetime.fromisoformat(sys.argv[1]))
"""
TICKING = """
import sys
import django
django.setup()
from datetime import datetime
from django.db import connection
from backup_platform.policies import ticking
ticking.LOT = 3
connection.ensure_connection()
print("ready", flush=True)
sys.stdin.readline()
print(ticking.tick(datetime.fromisoformat(sys.argv[1])).made, flush=True)
"""


@pytest.fixture
def place(transactional_db):
    place = make_place("ours")
    place.assign(place.policy(**HOURLY))
    place.machines(120)
    replan(place.tenant.pk, now=NOON - HOUR / 2)
    return place


def due_times() -> Counter:
    with without_tenant_scope("a test"):
        return Counter(Job.objects.values_list("machine_id", "due_at"))


def finish_all() -> None:
    with without_tenant_scope("a test"):
        Job.objects.filter(state="queued").update(state="done")


def in_threads(*works) -> None:
    faults: list[BaseException] = []

    def run(work):
        try:
            work()
        except BaseException as fault:  # noqa: BLE001 - told below
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert faults == []


def test_ticks_at_once_share_the_work_and_double_nothing(place, monkeypatch):
    monkeypatch.setattr(ticking, "LOT", 5)
    made = []
    in_threads(*[lambda: made.append(tick(NOON).made)] * 4)
    assert sum(made) == 120
    assert set(due_times().values()) == {1}
    assert len(due_times()) == 120


def test_ticks_and_planning_at_once_lose_and_double_nothing(place, monkeypatch):
    monkeypatch.setattr(ticking, "LOT", 7)
    for hour in range(3):
        now = NOON + hour * HOUR
        in_threads(
            lambda now=now: tick(now),
            lambda now=now: replan(place.tenant.pk, now=now),
            lambda now=now: tick(now),
            lambda now=now: replan(place.tenant.pk, now=now),
        )
        tick(now)
        finish_all()
    found = due_times()
    assert len(found) == 360
    assert set(found.values()) == {1}
    with without_tenant_scope("a test"):
        assert set(Plan.objects.values_list("next_run_at", flat=True)) == {NOON + 3 * HOUR}


def test_a_plan_that_another_tick_holds_does_not_keep_the_others_waiting(place, monkeypatch):
    held, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(ticking, "LOT", 50)
    lock_due, first = ticking.lock_due, threading.Lock()

    def slow(now, most):
        found = lock_due(now, most)
        if first.acquire(blocking=False):
            held.set()
            assert go_on.wait(PATIENCE)
        return found

    monkeypatch.setattr(ticking, "lock_due", slow)

    def other():
        assert held.wait(PATIENCE)
        assert tick(NOON).made == 70
        go_on.set()

    in_threads(lambda: tick(NOON), other)
    assert len(due_times()) == 120
    assert set(due_times().values()) == {1}


def test_a_tick_that_is_killed_half_way_leaves_nothing_behind_and_the_next_one_does_it_all(place, platform_environment):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, NOON.isoformat()], env=platform_environment, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "half-way\n"
        assert not due_times()
        os.kill(child.pid, signal.SIGKILL)
    made, until = 0, time.monotonic() + PATIENCE
    while made < 120 and time.monotonic() < until:  # the server needs a moment to see that the client is gone
        made += tick(NOON).made
    assert made == 120
    assert set(due_times().values()) == {1}


def test_two_processes_tick_with_the_rights_of_production_and_double_nothing(place, platform_environment):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", TICKING, NOON.isoformat()],
            env=platform_environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [child.stdout.readline() for child in children] == ["ready\n"] * 2
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate(timeout=PATIENCE * 2)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum(int(word) for word in said) == 120
    assert set(due_times().values()) == {1}
