"""Threads of the gateway's own for everything that blocks: the event loop only moves bytes.

Django's default would put every database call on one thread, and leave connections behind in others. Here the threads
are few and ours, and each keeps its connection while calls follow each other: to give it back and to have the next one
tested costs more than most queries. After a pause or a fault it goes back to the pool, which tests what it gives out.
"""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import Error

from backup_platform.gateway.limits import GatewayLimits
from backup_platform.tenants.scope import tenant_scope

T = TypeVar("T")


class Pools:
    """Disk, database, the control desk and restore reads apart, so that a slow one does not hold up the others."""

    def __init__(self, limits: GatewayLimits) -> None:
        self.flushes = asyncio.Semaphore(limits.flushes)
        self._connections: list[BaseDatabaseWrapper] = []
        self._disk = ThreadPoolExecutor(limits.disk_threads, "gateway-disk")
        self._database = ThreadPoolExecutor(limits.database_threads, "gateway-database", self._join)
        self._control = ThreadPoolExecutor(limits.control_threads, "gateway-control", self._join)
        self._reading = ThreadPoolExecutor(limits.reading_threads, "gateway-reading", self._join)

    async def disk(self, call: Callable[[], T]) -> T:
        """Run a call that writes or syncs files and uses no database."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, call)

    async def database(self, call: Callable[[], T], tenant: UUID | None = None) -> T:
        """Run a call that uses the database, in `tenant`'s scope if given; without, it opens its own scope."""
        return await asyncio.get_running_loop().run_in_executor(self._database, _with_database, call, tenant)

    async def control(self, call: Callable[[], T]) -> T:
        """Run a call of the control desk: offers and leases wait for no commit. It opens its own scope."""
        return await asyncio.get_running_loop().run_in_executor(self._control, _with_database, call, None)

    async def reading(self, call: Callable[[], T], tenant: UUID) -> T:
        """Run a call that looks up and reads stored records, in `tenant`'s scope."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, _with_database, call, tenant)

    def close(self) -> None:
        """Wait for what runs, drop what waits, give every connection back."""
        for pool in (self._disk, self._database, self._control, self._reading):
            pool.shutdown(wait=True, cancel_futures=True)
        closer = threading.Thread(target=self._close_connections)  # Django refuses to on a thread with an event loop
        closer.start()
        closer.join()

    def _join(self) -> None:
        """Each database thread, at its start: its connection may be closed by whoever closes the pools."""
        mine = connections[DEFAULT_DB_ALIAS]
        mine.inc_thread_sharing()
        self._connections.append(mine)

    def _close_connections(self) -> None:
        while self._connections:
            self._connections.pop().close()


KEPT_SECONDS = 1.0
"""How long a thread that rests keeps an untested connection: a call after a longer pause gets a tested one."""

_last = threading.local()


def _was_told_something() -> bool:
    """Whether the database has sent anything unasked on this thread's connection: its end, as a rule."""
    raw = connections[DEFAULT_DB_ALIAS].connection
    if raw is None:
        return False
    try:
        poll = select.poll()
        poll.register(raw.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError, Error):
        return True


def _with_database(call: Callable[[], T], tenant: UUID | None) -> T:
    if time.monotonic() - getattr(_last, "used_at", 0.0) > KEPT_SECONDS or _was_told_something():
        close_old_connections()
    try:
        if tenant is None:
            return call()
        with tenant_scope(tenant):
            return call()
    finally:
        _last.used_at = time.monotonic()
        if connections[DEFAULT_DB_ALIAS].errors_occurred:
            close_old_connections()
