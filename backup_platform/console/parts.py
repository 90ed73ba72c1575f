"""Whether each part of the platform is at work. Every question has an end; no answer holds a secret or an address."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from backup_platform.durability import unsafe_settings
from backup_platform.jobs.liveness import is_tier_served
from backup_platform.jobs.models import WorkerBeat

WORKER_SILENCE = timedelta(seconds=60)
ANSWER_SECONDS = 2.0
ANY_ADDRESS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound


@dataclass(frozen=True)
class Part:
    """One part's state: whether it is at work, and one sentence."""

    ok: bool
    detail: str


def check_parts() -> dict[str, Part]:
    """Every part that the platform needs, by name. Never raises."""
    checks: dict[str, Callable[[], Part]] = {
        "database": check_database,
        "migrations": check_migrations,
        "broker": check_broker,
        "worker": check_worker,
        "gateway": check_gateway,
    }
    return {name: _guarded(check) for name, check in checks.items()}


def _guarded(check: Callable[[], Part]) -> Part:
    try:
        return check()
    except (DatabaseError, redis.RedisError, OSError, ValueError):
        return Part(False, "does not answer")


def check_database() -> Part:
    """One round trip. Settings under which it may forget are told, and are no reason to send nobody here."""
    unsafe = unsafe_settings(connection)
    return Part(True, f"answers, but {', '.join(unsafe)} should be on" if unsafe else "answers")


_migrated: dict[str, bool] = {}


def check_migrations() -> Part:
    """Whether the schema is the code's. Once it is, it stays so for the life of this process."""
    name = str(connection.settings_dict["NAME"])
    if not _migrated.get(name):
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return Part(False, "the database's schema is older than the program: run migrate")
        _migrated[name] = True
    return Part(True, "up to date")


def check_broker() -> Part:
    """A ping with a time limit."""
    client = redis.from_url(settings.REDIS_URL, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS)
    with client:
        client.ping()
    return Part(True, "answers")


def worker_seen_at() -> datetime | None:
    """When any worker last did a task for real."""
    return WorkerBeat.objects.order_by("-seen_at").values_list("seen_at", flat=True).first()


def check_worker() -> Part:
    """Whether a worker did its canary task within a minute."""
    seen = worker_seen_at()
    if seen is None:
        return Part(False, "no worker has been at work yet")
    silence = timezone.now() - seen
    if silence > WORKER_SILENCE:
        return Part(False, f"no worker has been at work for {silence.total_seconds():.0f} s")
    if not is_tier_served():
        return Part(True, "at work, but none of the queue tier (start one): copies, scrubbing and expiry wait")
    return Part(True, "at work")


def check_gateway() -> Part:
    """Whether something accepts connections where the gateway listens."""
    address = gateway_address()
    if address is None:
        return Part(False, "nobody has said where it is (STRONGROOM_GATEWAY_ADDRESS)")
    with socket.create_connection(address, timeout=ANSWER_SECONDS):
        return Part(True, "accepts connections")


def gateway_address() -> tuple[str, int] | None:
    """Where this host reaches the gateway: beside us when we were given its port, else where agents are told."""
    if settings.STRONGROOM_GATEWAY_PORT:
        host = os.environ.get("STRONGROOM_GATEWAY_HOST", "")
        return ("127.0.0.1" if host in ANY_ADDRESS else host, settings.STRONGROOM_GATEWAY_PORT)
    host, _, port = settings.STRONGROOM_GATEWAY_ADDRESS.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdigit() else None
