"""Running one job: claim it, open its tenant's scope, do the work, write down how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import DatabaseError, Error, InterfaceError, OperationalError, close_old_connections

from backup_platform.jobs.models import Job
from backup_platform.jobs.services import LEASE, claim, defer, fail, finish
from backup_platform.jobs.turns import pass_on
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

logger = logging.getLogger(__name__)

WAIT = timedelta(seconds=30)
"""How long a job that waits for other work sleeps, when nobody wakes it."""
OUTAGE = timedelta(seconds=15)
"""How long a job sleeps after something that it needs was away. It is never longer: what was away comes back."""
WRITING = LEASE * 0.75
"""How long a worker goes on trying to write down how a job ended; after that the end of its lease tells."""
WRITE_AGAIN_SECONDS = 0.5
OUTAGES = (OperationalError, InterfaceError, ConnectionError, TimeoutError)
"""What is nobody's fault in a job: a database that went away or gave no lock in time, a connection that was refused."""


class StillWaiting(Exception):
    """The work cannot be done before some other work is, or while something is away; no failure. May say why."""


def run_job(job_id: UUID | str, work: Callable[[Job], dict[str, Any] | None]) -> bool:
    """Do a job's work if it can be claimed; what `work` returns is kept with the job. False: there was nothing to do.

    Never raises for a failure of the work: the row says what happened and when to try again. What was only away
    (`OUTAGES`) is waited for, and counts as no attempt.
    """
    job = _claim(UUID(str(job_id)))
    if job is None:
        return False
    scope = tenant_scope(job.tenant_id) if job.tenant_id else without_tenant_scope("a job of the platform itself")
    with scope:
        _write_down(_do(job, work))
    pass_on(job)
    return True


def _claim(job_id: UUID) -> Job | None:
    try:
        return claim(job_id)
    except (OperationalError, InterfaceError) as fault:
        close_old_connections()
        logger.warning("The database is away; the sweep sends the job again. (%s)", type(fault).__name__)
        return None


def _do(job: Job, work: Callable[[Job], dict[str, Any] | None]) -> Callable[[], bool]:
    """Do the work; how its end is to be written down."""
    try:
        result = work(job)
    except StillWaiting as why:
        return partial(defer, job, WAIT, str(why))
    except Exception as fault:  # noqa: BLE001 (the boundary: whatever went wrong is the job's to tell)
        return _after(job, fault)
    return partial(finish, job, result)


def _after(job: Job, fault: Exception) -> Callable[[], bool]:
    if isinstance(fault, (DatabaseError, InterfaceError)):
        close_old_connections()  # a broken connection must not keep the row from hearing of it
    away = _outage_in(fault)
    if away is None:
        logger.warning("A job failed.", extra={"job": str(job.pk), "kind": job.kind}, exc_info=fault)
        return partial(fail, job, f"{type(fault).__name__}: {_sentence(fault)}")
    what = "The database could not do it just now" if isinstance(away, Error) else "What it needs could not be reached"
    return partial(defer, job, OUTAGE, f"{what} ({type(away).__name__}).")


def _outage_in(fault: BaseException | None) -> BaseException | None:
    """The outage that a fault is, or that a fault of the database followed from: a transaction that was broken off
    refuses whatever comes after."""
    while fault is not None:
        if isinstance(fault, OUTAGES):
            return fault
        fault = (fault.__cause__ or fault.__context__) if isinstance(fault, Error) else None
    return None


def _write_down(end: Callable[[], bool]) -> None:
    """Write how a job ended, also when the database comes back only now. Twice is as good as once: the first write
    takes the claim away."""
    until = time.monotonic() + WRITING.total_seconds()
    while True:
        try:
            end()
            return
        except (OperationalError, InterfaceError) as fault:
            close_old_connections()
            if time.monotonic() > until:
                logger.warning("The database stays away; a job's lease tells its end. (%s)", type(fault).__name__)
                return
            time.sleep(WRITE_AGAIN_SECONDS)


def _sentence(fault: Exception) -> str:
    """What may be shown to people: the operating system's errors carry paths, so only their reason is kept."""
    return (fault.strerror or "") if isinstance(fault, OSError) else str(fault)
