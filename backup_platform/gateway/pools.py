"""Threads of the gateway's own for everything that blocks: the event loop only moves bytes.

Django's default would put every database call on one thread, and leave connections behind in others; here each
call is wrapped in `close_old_connections`, and the threads are few and ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

from django.db import close_old_connections

from backup_platform.gateway.limits import GatewayLimits
from backup_platform.tenants.scope import tenant_scope

T = TypeVar("T")


class Pools:
    """Disk, database and restore reads apart, so that a slow one of them does not hold up the others."""

    def __init__(self, limits: GatewayLimits) -> None:
        self._disk = ThreadPoolExecutor(limits.disk_threads, "gateway-disk")
        self._database = ThreadPoolExecutor(limits.database_threads, "gateway-database")
        self._reading = ThreadPoolExecutor(limits.reading_threads, "gateway-reading")

    async def disk(self, call: Callable[[], T]) -> T:
        """Run a call that writes or syncs files and uses no database."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, call)

    async def database(self, call: Callable[[], T], tenant: UUID | None = None) -> T:
        """Run a call that uses the database, in `tenant`'s scope if given; without, it opens its own scope."""
        return await asyncio.get_running_loop().run_in_executor(self._database, _with_database, call, tenant)

    async def reading(self, call: Callable[[], T], tenant: UUID) -> T:
        """Run a call that looks up and reads stored records, in `tenant`'s scope."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, _with_database, call, tenant)

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        for pool in (self._disk, self._database, self._reading):
            pool.shutdown(wait=True, cancel_futures=True)


def _with_database(call: Callable[[], T], tenant: UUID | None) -> T:
    close_old_connections()
    try:
        if tenant is None:
            return call()
        with tenant_scope(tenant):
            return call()
    finally:
        close_old_connections()
