"""Waiting until something serves, with an end to every wait."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable

import psycopg
from celery import Celery
from django.conf import settings

from backup_platform.embedded.child import Child
from backup_platform.embedded.errors import ServerFailed
from backup_platform.embedded.postgres import DATABASE, Postgres
from backup_platform.embedded.valkey import Valkey

POLL_SECONDS = 0.05
ATTEMPT_SECONDS = 5
TIER_SILENT = """
    SELECT max(seen_at) < now() - %s::interval AND NOT EXISTS (
        SELECT FROM jobs_job
         WHERE state = 'running' AND machine_id IS NULL AND lease_until > now()
           AND kind || ':' || split_part(subject, ':', 1) = ANY(%s))
      FROM jobs_queuebeat WHERE queue = %s
"""


async def wait_until_ready(child: Child) -> float:
    """Seconds until CHILD served. Raises ServerFailed, with the end of its log, if it died or took too long."""
    started = time.monotonic()
    fault: BaseException | None = None
    while time.monotonic() - started < child.recipe.ready_seconds:
        if not child.alive:
            raise ServerFailed(f"{child.recipe.name} ended while starting.", _where_to_look(child))
        try:
            await child.recipe.ready()
        except Exception as not_yet:  # noqa: BLE001 - each client has errors of its own for "not there (any more)"
            fault = not_yet
            await asyncio.sleep(POLL_SECONDS)
        else:
            return time.monotonic() - started
    raise ServerFailed(
        f"{child.recipe.name} did not serve within {child.recipe.ready_seconds:.0f} seconds ({fault}).",
        _where_to_look(child),
    )


def _where_to_look(child: Child) -> str:
    return f"The end of {child.recipe.log} says:\n{child.last_words()}"


def postgres_ready(postgres: Postgres) -> Callable[[], Awaitable[None]]:
    """Ready when the superuser can sign in."""

    def attempt() -> None:
        postgres.connect().close()

    return lambda: asyncio.to_thread(attempt)


def valkey_ready(valkey: Valkey) -> Callable[[], Awaitable[None]]:
    """Ready when it answers a ping with its data loaded."""

    def attempt() -> None:
        with valkey.connect() as client:
            client.ping()

    return lambda: asyncio.to_thread(attempt)


def web_ready(url: str) -> Callable[[], Awaitable[None]]:
    """Ready when /readyz answers 200: it asks the database and the broker itself."""

    def attempt() -> None:
        with urllib.request.urlopen(f"{url}readyz", timeout=ATTEMPT_SECONDS):  # noqa: S310 our own http address
            pass

    return lambda: asyncio.to_thread(attempt)


def listening(host: str, port: int) -> Callable[[], Awaitable[None]]:
    """Ready when something accepts connections there."""

    async def attempt() -> None:
        async with asyncio.timeout(ATTEMPT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()

    return attempt


def worker_ready(broker_url: str, node: str, canary: str, queue: str) -> Callable[[], Awaitable[None]]:
    """Ready when the worker called NODE answers over the broker: alive, connected and listening.

    It is then given its first tick, so that /readyz, which asks for one, need not wait for beat's.
    """
    name = f"{node}@{socket.gethostname()}"

    def attempt() -> None:
        application = Celery("probe", broker=broker_url, set_as_current=False)
        application.config_from_object(settings, namespace="CELERY")
        application.conf.broker_url = broker_url
        with application.connection_for_write() as connection:
            if not application.control.ping(destination=[name], timeout=2, connection=connection, limit=1):
                raise TimeoutError("no worker answers")
            application.send_task(canary, queue=queue, connection=connection, expires=20)

    return lambda: asyncio.to_thread(attempt)


def worker_silent(postgres: Postgres, longest_silence: str = "3 minutes") -> Callable[[], Awaitable[bool]]:
    """Whether no worker has done a tick of beat for too long, though the processes live.

    A known illness of broker clients: after a lost connection the process is there and hears nothing.
    """
    return _says(postgres, "SELECT max(seen_at) < now() - %s::interval FROM jobs_workerbeat", [longest_silence])


def tier_worker_silent(postgres: Postgres, longest_silence: str = "3 minutes") -> Callable[[], Awaitable[bool]]:
    """As `worker_silent`, for the queue `tier`: its processes may all be busy for longer, with jobs that they renew.

    A job of a dead process stops being renewed, and then speaks for nobody.
    """
    from backup_platform.jobs.turns import KINDS, QUEUE  # needs Django's applications; this module runs without

    return _says(postgres, TIER_SILENT, [longest_silence, KINDS, QUEUE])


def _says(postgres: Postgres, question: str, values: list[object]) -> Callable[[], Awaitable[bool]]:
    def ask() -> bool:
        try:
            with postgres.connect(DATABASE) as connection:
                row = connection.execute(question, values).fetchone()
        except psycopg.Error:
            return False  # the database's own illness; its keeper sees to it
        return bool(row and row[0])

    return lambda: asyncio.to_thread(ask)


def still_alive(seconds: float) -> Callable[[], Awaitable[None]]:
    """Ready when the process has lived for SECONDS: for one that answers nobody (beat)."""
    return lambda: asyncio.sleep(seconds)
