"""A real worker process on the test database, and a backup for it to work on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from backup_platform import dispatch
from backup_platform.tenants.scope import tenant_scope
from tests.catalog.stage import Backup, make_machine, make_vault

PATIENCE = 180
"""Seconds: a worker process alone takes twenty to start where much else is at work."""


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


@pytest.fixture
def backup(transactional_db, strongroom_home, servers, monkeypatch) -> Iterator[Backup]:
    dispatch._producer_app.cache_clear()
    monkeypatch.setattr(dispatch, "_closed_until", 0.0)
    redis.Redis.from_url(servers.valkey_url).flushdb()
    vault = make_vault("north", 7001)
    with tenant_scope(vault.tenant_id):
        yield Backup(make_machine(vault, "alpha"))
    dispatch._producer_app.cache_clear()


@pytest.fixture
def start_worker(platform_environment, tmp_path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "--pool", "prefork", "-c", "1"]
        command += ["--queues", ",".join(dispatch.QUEUES), "--without-gossip", "--without-mingle", *more]
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(command, env=platform_environment, stdout=log, stderr=log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
