"""Telling others how a job ended: notifications, and the schedules that follow it.

A defect there must never undo what happened here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction

from backup_platform.jobs.models import Job, JobState
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

logger = logging.getLogger(__name__)


def tell(job_ids: Iterable[UUID]) -> None:
    """Raise or resolve alerts for jobs that have just ended. Call it in the transaction that ended them.

    What fails here is logged, and made up for by the others' own sweeps.
    """
    with without_tenant_scope("jobs of several tenants may have ended at once"):
        ended = list(Job.objects.filter(pk__in=list(job_ids), tenant__isnull=False).select_related("machine", "policy"))
    for job in ended:
        _tell_one(job)


def _tell_one(job: Job) -> None:
    for follow in (_alert, _follow_up):
        try:
            with without_tenant_scope("the job says whose it is"), tenant_scope(job.tenant_id), transaction.atomic():
                follow(job)
        except Exception:
            logger.exception("What follows from a job's end failed.", extra={"job": str(job.pk)})


def _alert(job: Job) -> None:
    from backup_platform.notifications.about_jobs import job_ended  # it reads jobs itself

    job_ended(job)


def _follow_up(job: Job) -> None:
    if job.state not in (JobState.DONE, JobState.WARNINGS) or job.machine_id is None:
        return
    from backup_platform.policies.ticking import after_job_ended  # it makes jobs itself

    after_job_ended(job)
