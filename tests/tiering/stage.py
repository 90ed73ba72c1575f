"""Doing jobs and ticks as workers would, and looking at what came of it."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, Pack
from backup_platform.catalog.pack_files import read_cache
from backup_platform.catalog.reading import PackReader, _rows
from backup_platform.jobs.models import Job, JobState
from backup_platform.jobs.routes import route_of
from backup_platform.jobs.running import run_job
from backup_platform.targets.models import Target
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import jobs as tiering
from backup_platform.tiering import ticking
from tests.catalog.stage import WORK as CATALOGUE
from tests.catalog.stage import digest

WORK = {
    **CATALOGUE,
    "strongroom.tier_pack": tiering.tier_pack,
    "strongroom.tier_snapshot": tiering.tier_snapshot,
    "strongroom.tier_target": tiering.work_on_target,
}
MOST = 500


def run_all() -> int:
    """Do every job that is due, until none is left."""
    with without_tenant_scope("workers do jobs of all tenants"):
        done = 0
        while job := _next():
            run_job(job.pk, WORK[route_of(job.kind, job.subject).task])
            done += 1
            assert done < MOST, "the work list does not come to an end"
        return done


def _next() -> Job | None:
    now = timezone.now()
    return Job.objects.filter(state=JobState.QUEUED, next_attempt_at__lte=now).order_by("created_at").first()


def wake_all() -> None:
    """Waiting jobs are due now, and targets that are waited for too: time has passed."""
    from backup_platform.tiering.models import Patience

    with without_tenant_scope("time passes for all tenants"):
        Job.objects.filter(state=JobState.QUEUED).update(next_attempt_at=timezone.now())
        Patience.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))


def tick() -> int:
    """A tick, and the work that it asks for."""
    ticking.tick()
    return run_all()


def ticks(until, most: int = 60) -> int:
    """Tick, with time passing in between, until something holds; how often."""
    for number in range(most):
        if until():
            return number
        wake_all()
        tick()
    assert until(), f"it does not hold after {most} ticks: {told()}"
    return most


def told() -> list[str]:
    """What the rows say, for a test that fails."""
    with without_tenant_scope("a test looks at all"):
        rows = [f"{c} {c.state} {c.fault}" for c in Copy.objects.select_related("pack", "target")]
        jobs = Job.objects.exclude(state=JobState.DONE).values_list("kind", "subject", "state", "last_error")
        return [*rows, *map(str, jobs)]


def comes_back(vault, data: list[bytes]) -> bool:
    """Whether every byte can be read from wherever it is, by nobody's memory of where it was."""
    _rows.clear()
    found = {one.id: one.record for one in PackReader(vault.number).read([digest(each) for each in data])}
    return all(found[digest(each)] is not None and found[digest(each)].sealed == each for each in data)


def forget_cache() -> None:
    """Nothing that was read before helps a later read."""
    for pack in Pack.objects.all():
        read_cache().forget(pack.uid.hex)


def local_files() -> list:
    """The packs' files on this host."""
    return sorted(path for path in (stores.home() / "store").rglob("*.pack"))


def hour_passes() -> None:
    Copy.objects.filter(state="leaving").update(leaves_at=timezone.now() - timedelta(seconds=1))
    wake_all()


def state_of(target: Target) -> str:
    with without_tenant_scope("test"):
        return Target.objects.get(pk=target.pk).state
