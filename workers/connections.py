"""A worker process keeps its database connection from task to task.

Opening one costs both ends some ten milliseconds of processor time, which is more than many tasks need. As Django does
around a request, a connection that is broken or too old is dropped around each task. Celery's own way of keeping them
(the setting DB_REUSE_MAX) looks at neither; it is set so high that Celery leaves connections alone.
"""

from __future__ import annotations

from celery.signals import task_postrun, task_prerun, worker_process_init
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections

KEPT_SECONDS = 60
"""The age at which a connection is given back, so that no session of the database lives as long as a worker."""


@worker_process_init.connect
def keep_connections(**_: object) -> None:
    """In a process of the pool only: there one thread runs one task after the other."""
    connections.settings[DEFAULT_DB_ALIAS]["CONN_MAX_AGE"] = KEPT_SECONDS


@task_prerun.connect
@task_postrun.connect
def drop_unusable_connections(**_: object) -> None:
    """Broken ones, and those that are older than they may be."""
    close_old_connections()
