"""Running one job: claim it, open its tenant's scope, do the work, write down how it ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, close_old_connections

from backup_platform.jobs.models import Job
from backup_platform.jobs.services import claim, defer, fail, finish
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

logger = logging.getLogger(__name__)

WAIT = timedelta(seconds=30)
"""How long a job that waits for other work sleeps, when nobody wakes it."""


class StillWaiting(Exception):
    """The work cannot be done before some other work is, or while something is away; no failure. May say why."""


def run_job(job_id: UUID | str, work: Callable[[Job], dict[str, Any] | None]) -> bool:
    """Do a job's work if it can be claimed; what `work` returns is kept with the job. False: there was nothing to do.

    Never raises for a failure of the work: the row says what happened and when to try again.
    """
    job = claim(UUID(str(job_id)))
    if job is None:
        return False
    scope = tenant_scope(job.tenant_id) if job.tenant_id else without_tenant_scope("a job of the platform itself")
    with scope:
        try:
            result = work(job)
        except StillWaiting as why:
            defer(job, WAIT, str(why))
        except OperationalError as fault:  # a lock that was not given in time, or a database that went away
            close_old_connections()
            defer(job, WAIT, f"The database could not do it just now ({type(fault).__name__}).")
        except Exception as fault:  # noqa: BLE001 (the boundary: whatever went wrong is the job's to tell)
            _tell(job, fault)
        else:
            finish(job, result)
    return True


def _tell(job: Job, fault: Exception) -> None:
    logger.warning("A job failed.", extra={"job": str(job.pk), "kind": job.kind}, exc_info=fault)
    if isinstance(fault, DatabaseError):
        close_old_connections()  # a broken connection must not keep the row from hearing of it
    fail(job, f"{type(fault).__name__}: {_sentence(fault)}")


def _sentence(fault: Exception) -> str:
    """What may be shown to people: the operating system's errors carry paths, so only their reason is kept."""
    return (fault.strerror or "") if isinstance(fault, OSError) else str(fault)
