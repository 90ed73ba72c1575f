"""The Celery application. Start it with

REMAP_SIGTERM=SIGQUIT celery -A workers.app worker --queues control,verify,restore,notify \\
    --without-gossip --without-mingle
REMAP_SIGTERM=SIGQUIT celery -A workers.app worker --queues tier -c 3 --without-gossip --without-mingle
celery -A workers.app beat

(The remapped stop signal means: hand back what cannot be finished within half a minute.)
"""

from __future__ import annotations

import gc
import os

from celery import Celery
from celery.signals import worker_before_create_process, worker_ready
from celery.worker.consumer import Consumer
from kombu.entity import Queue

from backup_platform.dispatch import QUEUES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backup_platform.settings.embedded")

app = Celery("strongroom")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_queues = [Queue(name) for name in QUEUES]
app.conf.worker_soft_shutdown_timeout = 30
app.conf.imports = ("workers.tasks", "workers.connections")
app.conf.result_expires = None  # there are no results, so beat needs no tick that cleans them up


TICKS = {
    "strongroom.sweep": (15, "control"),
    "strongroom.canary": (10, "control"),
    "strongroom.tier_canary": (10, "tier"),
    "strongroom.schedule": (15, "control"),
    "strongroom.replan": (60, "control"),
    "strongroom.drills": (900, "control"),
    "strongroom.expire": (300, "control"),
    "strongroom.deliver": (10, "notify"),
    "strongroom.tier": (15, "control"),
    "strongroom.tier_watch": (60, "control"),
    "strongroom.targets_away": (120, "tier"),
    "strongroom.unfinished_uploads": (24 * 3600, "tier"),
    "strongroom.daily": (24 * 3600, "control"),
    "strongroom.ask_again": (1800, "control"),
    "strongroom.ask_for_reclaim": (300, "control"),
    "strongroom.scrub": (60, "control"),
    "strongroom.platform_backup": (3600, "control"),
}
"""Each tick's seconds and queue."""


def _timetable() -> dict[str, dict[str, object]]:
    """The whole timetable: fixed ticks in UTC. What is due when is decided from rows, never here.

    A tick that could not be taken in time is dropped (`expire_seconds`): the next one does its work.
    """
    return {
        name: {"task": name, "schedule": float(seconds), "options": {"queue": queue, "expire_seconds": 2 * seconds}}
        for name, (seconds, queue) in TICKS.items()
    }


app.conf.beat_schedule = _timetable()


@worker_before_create_process.connect
def _share_memory(**_: object) -> None:
    """What is there before the fork is not looked at by the children's garbage collection, which would copy it."""
    gc.collect()
    gc.freeze()


@worker_ready.connect
def _prove_life(sender: Consumer, **_: object) -> None:
    """The first canaries and the first sweep need not wait for beat's tick."""
    for task in ("strongroom.canary", "strongroom.tier_canary", "strongroom.sweep"):
        sender.app.send_task(task, queue=TICKS[task][1], expires=30)
