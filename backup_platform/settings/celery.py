"""Celery's settings, read by workers.app under the namespace CELERY. The reasons are one line each.

The database rows are the work list and a message is only a wake-up (docs/architecture.md), so every setting here
prefers "delivered twice" or "lost and swept up" to "stuck for an hour".
"""

from __future__ import annotations

# Redis hands a message out again after this many seconds; every task ends well before.
VISIBILITY_TIMEOUT = 1800

CELERY_TASK_ACKS_LATE = True  # a worker that dies has not acknowledged
CELERY_TASK_REJECT_ON_WORKER_LOST = True  # nor one whose child was killed; Job.attempts ends a poison loop
CELERY_TASK_SOFT_TIME_LIMIT = 540
CELERY_TASK_TIME_LIMIT = 600
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_BACKEND = None  # results are rows
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]  # never pickle: whoever reaches the broker must not reach the interpreter
CELERY_TASK_DEFAULT_QUEUE = "control"
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_VISIBILITY_TIMEOUT = VISIBILITY_TIMEOUT
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": VISIBILITY_TIMEOUT,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "retry_on_timeout": True,
    "health_check_interval": 25,
    "global_keyprefix": "bk:",
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"visibility_timeout": VISIBILITY_TIMEOUT}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # the default gives up after 100 attempts and leaves a live, deaf worker
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1  # a long task must not hold others in its worker's pocket
CELERY_WORKER_MAX_TASKS_PER_CHILD = 200
CELERY_WORKER_MAX_MEMORY_PER_CHILD = 400_000  # KiB
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10  # with REMAP_SIGTERM=SIGQUIT: unfinished work is handed back, not held
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_ETA_TASK_LIMIT = 1000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_DB_REUSE_MAX = 10**9  # workers/connections.py decides when a connection ends
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
