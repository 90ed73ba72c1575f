"""`running_gateway`: a real gateway on a free loopback port, over the test's database and STRONGROOM_HOME.

Other rooms import the fixtures into their conftest: `from tests.gateway.fixtures import *`.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.gateway.server import Gateway

__all__ = ["RunningGateway", "gateway_factory", "running_gateway"]

WAIT = 20.0


@dataclass(repr=False)
class RunningGateway:
    """A gateway on a thread of its own: `host`, `port`, and `ca_hash` (SHA-256 of the authority's DER) for agents."""

    home: Path
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    files: FileLayer = field(default_factory=FileLayer)
    gateway: Gateway = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)

    def start(self) -> RunningGateway:
        self.loop = uvloop.new_event_loop()
        self.gateway = Gateway(self.home, limits=self.limits, files=self.files)
        self._thread = threading.Thread(target=self.loop.run_forever, name="test-gateway")
        self._thread.start()
        try:
            self.run(self.gateway.start())
        except BaseException:
            self._end_loop()
            raise
        return self

    def stop(self) -> None:
        """As SIGTERM does."""
        if self.loop.is_closed():
            return
        try:
            self.run(self.gateway.stop())
        finally:
            self._end_loop()

    def die(self) -> None:
        """As SIGKILL does: nothing is flushed, sealed or said; only the threads of this process are collected."""

        async def cut() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            self.gateway._listener.close()
            for peer in list(self.gateway.peers):
                peer.transport.abort()
            await asyncio.wait(tasks, timeout=5)

        context = self.gateway.context
        context.packs.park = lambda holder, pack: pack.writer.close()
        context.packs.give_up = lambda row, writer=None: writer and writer.close()
        self.run(cut())
        context.pools.close()
        self._end_loop()
        for spool in self.gateway._spools:
            spool.release()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT)

    @property
    def host(self) -> str:
        return "127.0.0.1"

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def ca_hash(self) -> bytes:
        return hashlib.sha256(self.gateway.tls.ca).digest()

    @property
    def spool(self) -> Path:
        return self.gateway.context.packs.spool.directory

    def _end_loop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT)
        self.loop.close()


@pytest.fixture
def gateway_factory(transactional_db, strongroom_home) -> Iterator[Callable[..., RunningGateway]]:
    """Starts gateways (`limits=`, `files=`) over the same home; all are stopped after the test."""
    started: list[RunningGateway] = []

    def start(**options: Any) -> RunningGateway:
        started.append(RunningGateway(strongroom_home, **options).start())
        return started[-1]

    yield start
    for gateway in started:
        gateway.stop()


@pytest.fixture
def running_gateway(gateway_factory: Callable[..., RunningGateway]) -> RunningGateway:
    """One gateway with its usual limits."""
    return gateway_factory()
