"""Telling the notifications how a job ended. A defect there must never undo what happened here."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import DatabaseError, transaction

from backup_platform.jobs.models import Job
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

logger = logging.getLogger(__name__)


def tell(job_ids: Iterable[UUID]) -> None:
    """Raise or resolve alerts for jobs that have just ended. Call it in the transaction that ended them.

    What fails here is logged, and made up for by the notifications' own sweep.
    """
    with without_tenant_scope("jobs of several tenants may have ended at once"):
        ended = list(Job.objects.filter(pk__in=list(job_ids), tenant__isnull=False).select_related("machine", "policy"))
    for job in ended:
        _tell_one(job)


def _tell_one(job: Job) -> None:
    from backup_platform.notifications.about_jobs import job_ended

    with without_tenant_scope("the job says whose it is"), tenant_scope(job.tenant_id):
        try:
            with transaction.atomic():
                job_ended(job)
        except (DatabaseError, ValueError, TypeError, LookupError, AttributeError) as fault:
            logger.error("An alert about a job could not be made.", extra={"job": str(job.pk)}, exc_info=fault)
