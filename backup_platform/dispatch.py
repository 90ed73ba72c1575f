"""The only sender of background work: by task name, after commit, ids only.

A message is a wake-up and may be lost; the job's row is the truth and a sweep sends it again. So a broker that is away
must cost the sender nothing: no retries, a short connect timeout, and after a failure a few seconds of not even trying.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import cache
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from kombu.exceptions import OperationalError

from backup_platform.settings.environment import read_number

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

QUEUES = ("control", "verify", "tier", "restore", "notify")
"""Separate queues, so that a long task of one kind does not hold up another. `tier` has a worker of its own: everything
that waits for other people's machines is there (jobs/turns.py says who may begin). `restore` is reserved."""
TIER = "tier"
TIER_VARIABLE, TIER_PROCESSES = "STRONGROOM_TIER_PROCESSES", 3
"""Of all workers of `tier` together, unless the variable says otherwise: one for what is slow, one for what else its
owner has to do, one for everybody else."""
CONNECT_SECONDS = 1
PAUSE_SECONDS = 5
"""After a failure, messages are left to the sweep for this long."""

_gate = threading.Lock()
_closed_until = 0.0


@cache
def tier_processes() -> int:
    """How many processes work on the queue `tier`, on all hosts together."""
    count = read_number(TIER_VARIABLE, TIER_PROCESSES)
    if count < TIER_PROCESSES:
        raise ImproperlyConfigured(
            f"{TIER_VARIABLE} must be {TIER_PROCESSES} or more: one slow bucket holds up to two."
        )
    return count


def send(task: str, queue: str, job_id: UUID) -> None:
    """Wake a worker for a job once the transaction in force has been committed. Never raises, never waits long."""
    transaction.on_commit(lambda: _publish(task, queue, job_id), robust=True)


def queue_length(queue: str) -> int | None:
    """How many messages wait in a queue; None when the broker cannot be asked."""
    if _is_paused():
        return None
    try:
        with _producer_app().connection_for_write() as broker:
            return int(broker.default_channel.client.llen(queue))
    except (OSError, OperationalError) as fault:
        _pause(fault)
        return None


def _publish(task: str, queue: str, job_id: UUID) -> None:
    if _is_paused():
        return
    try:
        _producer_app().send_task(task, args=[str(job_id)], queue=queue, retry=False, ignore_result=True)
    except (OSError, OperationalError) as fault:
        _pause(fault)


@cache
def _producer_app() -> Celery:
    """A Celery application that only sends: the workers' settings, and none of their patience."""
    from celery import Celery  # only who sends needs it, and it is slow to import

    app = Celery("strongroom-dispatch", set_as_current=False)
    app.config_from_object(settings, namespace="CELERY")
    app.conf.broker_url = settings.CELERY_BROKER_URL
    app.conf.broker_transport_options = {
        **settings.CELERY_BROKER_TRANSPORT_OPTIONS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_timeout": CONNECT_SECONDS,
        "retry_on_timeout": False,
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0,
        "interval_max": 0,
    }
    return app


def _is_paused() -> bool:
    return time.monotonic() < _closed_until


def _pause(fault: Exception) -> None:
    global _closed_until  # noqa: PLW0603 (one gate per process is the point)
    with _gate:
        _closed_until = time.monotonic() + PAUSE_SECONDS
    logger.warning("The message broker is away; the sweep will send what is due. (%s)", type(fault).__name__)
