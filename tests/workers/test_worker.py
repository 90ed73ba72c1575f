"""A real worker process, real PostgreSQL, real Valkey: the tasks do what the rows say."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import redis
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from backup_platform import dispatch
from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.liveness import is_worker_alive
from backup_platform.jobs.models import Job, WorkerBeat
from backup_platform.jobs.routes import ROUTES
from backup_platform.jobs.sweeping import sweep
from backup_platform.policies.models import Assignment, Plan, Policy
from backup_platform.policies.planning import replan
from backup_platform.tenants.scope import tenant_scope
from tests.catalog.stage import contents
from tests.workers.conftest import wait_until


def test_a_worker_brings_a_backup_from_received_to_verified(backup, start_worker):
    start_worker()
    committed = backup.run(contents(20))
    wait_until(lambda: Snapshot.objects.get(pk=committed.snapshot).state == "verified", "verified")
    assert Pack.objects.get().place == "target"
    wait_until(lambda: not Job.objects.exclude(state="done").exists(), "all jobs done")


def test_lost_messages_are_made_up_for_by_the_sweep_and_the_canary_proves_life(backup, start_worker, servers):
    broker = redis.Redis.from_url(servers.valkey_url)
    committed = backup.run(contents(5))
    broker.flushdb()
    assert not is_worker_alive()
    Job.objects.update(sent_at=timezone.now() + timedelta(hours=1))  # so that the worker's own first sweep leaves them
    start_worker()

    def sweep_again() -> bool:
        """What beat's ticks do every few seconds, here as soon as the worker has taken what it was sent: a sweep for
        each look would send faster than it can work."""
        if not any(dispatch.queue_length(queue) for queue in dispatch.QUEUES):
            Job.objects.update(sent_at=timezone.now() - timedelta(hours=2))
            sweep()
        return Snapshot.objects.get(pk=committed.snapshot).state == "verified"

    wait_until(sweep_again, "verified although every first message was lost")
    wait_until(is_worker_alive, "the canary's row")
    assert WorkerBeat.objects.count() == 1


def test_the_ticks_of_a_real_worker_turn_a_due_plan_into_a_job_and_sweep_up_a_lost_one(backup, start_worker):
    machine = backup.machine
    settings = {"selection.sources": ["/srv"], "schedule.kind": "interval", "schedule.every_minutes": 60}
    with tenant_scope(machine.tenant_id):
        policy = Policy.objects.create(tenant_id=machine.tenant_id, name="Documents", settings=settings)
        Assignment.objects.create(tenant_id=machine.tenant_id, policy=policy, machine=machine)
        replan(machine.tenant_id)
        Plan.objects.update(next_run_at=timezone.now() - timedelta(minutes=1))
    start_worker()
    dispatch._producer_app().send_task("strongroom.schedule", queue="control")
    wait_until(lambda: Job.objects.filter(policy=policy, state="queued").exists(), "the job of a due plan")
    (offered,) = agent_jobs.next_offers([machine.pk], "g", 1)
    Job.objects.filter(pk=offered.job_id).update(lease_until=timezone.now() - timedelta(seconds=1))
    dispatch._producer_app().send_task("strongroom.sweep", queue="control")
    wait_until(
        lambda: Job.objects.filter(pk=offered.job_id, state="queued").exists(), "the unanswered offer taken back"
    )


def test_beat_writes_the_timetable_and_its_ticks_expire(backup, platform_environment, tmp_path):
    from workers.app import TICKS

    command = [sys.executable, "-m", "celery", "-A", "workers.app", "beat", "--pidfile="]
    with (tmp_path / "beat.log").open("wb") as log:
        beat = subprocess.Popen(command, env=platform_environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: PeriodicTask.objects.count() >= len(TICKS), "beat's rows")
    finally:
        beat.terminate()
        beat.wait(20)
    ticks = {task.name: (task.interval.every, task.expire_seconds, task.queue) for task in PeriodicTask.objects.all()}
    assert ticks == {name: (seconds, 2 * seconds, queue) for name, (seconds, queue) in TICKS.items()}
    assert ticks["strongroom.sweep"] == (15, 30, "control")


def test_every_route_has_its_task_and_every_tick_too():
    from workers import tasks
    from workers.app import app

    names = set(app.tasks)
    assert {route.task for route in ROUTES.values()} <= names
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= names
    assert {route.queue for route in ROUTES.values()} <= set(dispatch.QUEUES)
    assert tasks.canary.name == "strongroom.canary"


def test_the_worker_is_set_up_so_that_messages_may_be_lost_or_doubled():
    from workers.app import app

    expected = {
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_soft_time_limit": 540,
        "task_time_limit": 600,
        "task_ignore_result": True,
        "result_backend": None,
        "task_serializer": "json",
        "accept_content": ["json"],
        "visibility_timeout": 1800,
        "broker_connection_max_retries": None,
        "broker_connection_retry_on_startup": True,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 200,
        "worker_max_memory_per_child": 400_000,
        "worker_soft_shutdown_timeout": 30,
        "worker_send_task_events": False,
        "timezone": "UTC",
        "enable_utc": True,
    }
    assert {name: app.conf[name] for name in expected} == expected
    options = app.conf.broker_transport_options
    assert options["visibility_timeout"] == 1800 > app.conf.task_time_limit
    assert (options["unacked_restore_interval"], options["unacked_restore_throttle"]) == (10, 1)
    assert options["global_keyprefix"] == "bk:"
