"""Setting how many jobs may run at once. Audited: too low a limit stops a tenant's backups as surely as a pause."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from backup_platform.audit.services import record as record_audit
from backup_platform.jobs.models import JobLimits


def save(limits: JobLimits, by: str) -> None:
    """Store a limit that is new or was changed. Raises IntegrityError for a second one of the same scope."""
    with transaction.atomic():
        limits.save()
        _audit("job_limits.set", limits, by, most_running=limits.most_running)


def remove(limits: JobLimits, by: str) -> None:
    """Take a limit away: the usual one, or the next wider, counts again."""
    with transaction.atomic():
        _audit("job_limits.removed", limits, by)
        limits.delete()


def _audit(verb: str, limits: JobLimits, by: str, **detail: Any) -> None:
    scope = f"group:{limits.group_id}" if limits.group_id else limits.target or "tenant"
    record_audit(verb, actor=by, object=f"job_limits:{limits.pk}", tenant=limits.tenant_id, scope=scope, **detail)
