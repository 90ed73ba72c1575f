"""One tenant's bucket that is slow and never fails, real workers, a real bucket: nobody else waits for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from backup_platform import dispatch
from backup_platform.catalog.models import Copy, Pack
from backup_platform.jobs.models import Job
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering.models import TierRule
from tests.catalog.stage import Backup, contents, make_machine, make_vault
from tests.slow_line import SlowLine
from tests.workers.conftest import wait_until

pytestmark = pytest.mark.slow
SIZE = 1_000_000
TRICKLE = 2_000
"""Bytes a second: a pack would take eight minutes."""


@pytest.fixture
def start(platform_environment, tmp_path) -> Iterator[Callable[[str, int], None]]:
    """Starts a worker of some queues."""
    started: list[subprocess.Popen[bytes]] = []

    def start(queues: str, processes: int) -> None:
        command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-c", str(processes), "-Q", queues]
        command += ["-n", f"{queues[:4]}@%h", "--without-gossip", "--without-mingle", "-l", "INFO"]
        with (tmp_path / f"{queues[:4]}.log").open("wb") as log:
            started.append(subprocess.Popen(command, env=platform_environment, stdout=log, stderr=log))

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.fixture
def line(s3_server) -> Iterator[SlowLine]:
    with SlowLine(s3_server.url, rate=TRICKLE) as line:
        yield line


def rule(target: Target, tenant_id) -> None:
    with without_tenant_scope("the stage is set"):
        TierRule.objects.create(target=target, tenant_id=tenant_id, at_once=True)


def disk(tenant, path) -> Target:
    """A directory of a tenant's own."""
    LocalStore.create(path)
    with without_tenant_scope("the stage is set"):
        return Target.objects.create(name="disk", tenant=tenant, kind=TargetKind.LOCAL, path=str(path))


def good(target: Target) -> int:
    with without_tenant_scope("a test looks"):
        return Copy.objects.filter(target=target.pk, state="good").count()


def verified(tenant_id) -> int:
    with without_tenant_scope("a test looks"):
        return Pack.objects.filter(tenant=tenant_id, deduplicated_at__isnull=False).count()


def at_work(tenant_id) -> int:
    with without_tenant_scope("a test looks"):
        return Job.objects.filter(kind="tier", subject__contains="@", state="running", tenant=tenant_id).count()


def ticking(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Ticks as beat sends them, until the condition holds."""
    last = 0.0

    def look() -> bool:
        nonlocal last
        if time.monotonic() - last > 3:
            last = time.monotonic()
            for tick in ("strongroom.tier", "strongroom.sweep"):
                dispatch._producer_app().send_task(tick, queue="control")
        return condition()

    return look


def test_a_slow_bucket_of_one_tenant_holds_up_nobody_else(backup, start, line, s3_target_row, tmp_path):
    slow, vault = backup.machine.tenant_id, make_vault("south", 7002)
    bucket, directory = s3_target_row(tenant=backup.machine.tenant, url=line.url), disk(vault.tenant, tmp_path / "disk")
    rule(bucket, slow)
    rule(directory, vault.tenant_id)
    start("control,verify,restore,notify", 2)
    start("tier", 3)
    for _ in range(4):
        backup.run(contents(4, SIZE // 4))
    wait_until(ticking(lambda: verified(slow) == 4 and at_work(slow) > 0 and line.sent > 0), "an upload that trickles")
    with without_tenant_scope("another tenant's turn"), tenant_scope(vault.tenant_id):
        other = Backup(make_machine(vault, "beta"))
        for _ in range(3):
            other.run(contents(4, SIZE // 4))
    wait_until(ticking(lambda: good(directory) == 3), "the copies of everybody else")
    assert at_work(slow) <= 1
    assert good(bucket) == 0, "they were made while the bucket had nothing yet"
    line.rate = None
    wait_until(ticking(lambda: good(bucket) == 4), "the slow tenant's own copies, on a better line")
