"""Once a day: is the platform's backup due? And the job that makes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from backup_platform.jobs.models import Job, JobKind
from backup_platform.jobs.services import enqueue, renew
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind
from backup_platform.rebuilding.errors import RebuildRefused
from backup_platform.tenants.scope import without_tenant_scope

from .contents import NoOperatorKey
from .operator_key import operator_key
from .putting import back_up_platform

SUBJECT = "platform:backup"
EVERY = timedelta(hours=24)
ALERT = "platform-backup"
ADVICE = "Make a key with `manage.py create_operator_key --out DIR`, and keep that directory away from this host."


def ask_when_due() -> None:
    """Ask for a backup when the last one was asked for a day ago; say so when there is nobody to seal it to."""
    with without_tenant_scope("the platform's own backup belongs to no tenant"), transaction.atomic():
        try:
            missing = "" if operator_key() else str(NoOperatorKey())
        except RebuildRefused as fault:
            missing = str(fault)
        if missing:
            raise_alert(None, AlertKind.OTHER, "platform", "warning", missing, ADVICE, ALERT)
            return
        recent = Job.objects.filter(kind=JobKind.REBUILD, subject=SUBJECT, created_at__gt=timezone.now() - EVERY)
        if not recent.exists():
            enqueue(JobKind.REBUILD, subject=SUBJECT, tenant_id=None)


def work(job: Job) -> dict[str, Any]:
    """The job: make the backup and put it. A target that did not take it is told in the result and as an alert."""
    made = back_up_platform("the platform", lambda: renew(job))
    with transaction.atomic():
        if made.faults:
            text = f"The platform's backup did not reach every target. {' '.join(made.faults)}"
            raise_alert(None, AlertKind.OTHER, "platform", "warning", text, "See that these targets answer.", ALERT)
        else:
            resolve_alert(None, ALERT, "The platform was backed up.")
    return {"backup": made.name, "bytes": made.size, "targets": made.targets, "faults": made.faults}
