"""What the timetable's ticks do. Each may come late, twice or not at all."""

from __future__ import annotations

import logging
from datetime import timedelta

from django.utils import timezone

from backup_platform.catalog.sessions import abandon_idle_sessions
from backup_platform.catalog.work import ask_again
from backup_platform.fleet.tokens import forget_expired_blobs
from backup_platform.jobs.agent_sweeping import sweep_agent_jobs
from backup_platform.jobs.models import Job, JobState, WorkerBeat
from backup_platform.jobs.no_room import tell_who_waits_for_room
from backup_platform.jobs.sweeping import Swept, sweep
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tenants.stored import recount, settle

logger = logging.getLogger(__name__)

KEEP_DONE = timedelta(days=30)
KEEP_MACHINES_JOBS = timedelta(days=365)
"""Of machines' jobs, whatever became of them: a year of history for people, and an end to the list."""
MAX_FORGOTTEN = 10_000


def sweep_now() -> Swept:
    """Every few seconds: jobs that are due or were left behind or wait for room, what each tenant stores, and enrolment
    secrets whose time is over."""
    sweep_agent_jobs()
    settle()
    tell_who_waits_for_room()
    forget_expired_blobs()
    return sweep()


def ask_for_what_is_left() -> None:
    """Twice an hour: what the rows say is still to be done, though its job failed for good or was never made."""
    with without_tenant_scope("housekeeping concerns every tenant"):
        asked = ask_again()
        if asked:
            logger.info("Work that was left was asked for again.", extra={"count": asked})


def daily() -> None:
    """Once a day: sessions that nobody came back to, the list of jobs long done, and a count of all that is stored."""
    with without_tenant_scope("housekeeping concerns every tenant"):
        abandoned = abandon_idle_sessions()
        if abandoned:
            logger.info("Idle sessions were abandoned.", extra={"count": abandoned})
        _forget_done()
        recount()


def _forget_done() -> None:
    """Jobs that were done long ago go, some at a time; failed ones stay until somebody has looked."""
    before = timezone.now() - KEEP_DONE
    done = Job.objects.filter(state=JobState.DONE, finished_at__lt=before, machine__isnull=True)
    old = done.values_list("pk", flat=True)[:MAX_FORGOTTEN]
    Job.objects.filter(pk__in=list(old)).delete()
    ancient = Job.objects.filter(machine__isnull=False, finished_at__lt=timezone.now() - KEEP_MACHINES_JOBS)
    Job.objects.filter(pk__in=list(ancient.values_list("pk", flat=True)[:MAX_FORGOTTEN])).delete()
    WorkerBeat.objects.filter(seen_at__lt=before).delete()
