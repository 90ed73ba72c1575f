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

from .chain import is_told
from .contents import NoOperatorKey
from .operator_key import operator_key
from .putting import back_up_platform

SUBJECT = "platform:backup"
EVERY = timedelta(hours=24)
ALERT = "platform-backup"
SIGNER_ALERT = "platform-signer"
SIGNER_TEXT = "The platform signs its own backups, and nobody keeps the hash of the key that it signs with."
SIGNER_ADVICE = (
    "Run `manage.py platform_signing_key --out platform-signers.txt` and keep that file beside the operator's key, off "
    "this host: without it a restore cannot tell a backup of this platform from a forged one."
)
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
        _ask_to_keep_the_signer()
        recent = Job.objects.filter(kind=JobKind.REBUILD, subject=SUBJECT, created_at__gt=timezone.now() - EVERY)
        if not recent.exists():
            enqueue(JobKind.REBUILD, subject=SUBJECT, tenant_id=None)


def _ask_to_keep_the_signer() -> None:
    """Say so while the operator does not know the signing key: an older operator's key came without it."""
    try:
        told = is_told()
    except RebuildRefused as fault:
        raise_alert(None, AlertKind.OTHER, "platform", "warning", str(fault), SIGNER_ADVICE, SIGNER_ALERT)
        return
    if told:
        resolve_alert(None, SIGNER_ALERT, "The hash of the signing key was given out.")
    else:
        raise_alert(None, AlertKind.OTHER, "platform", "warning", SIGNER_TEXT, SIGNER_ADVICE, SIGNER_ALERT)


def work(job: Job) -> dict[str, Any]:
    """The job: make the backup and put it. A target that did not take it is told in the result and as an alert."""
    made = back_up_platform("the platform", lambda: _go_on(job))
    with transaction.atomic():
        if made.faults:
            text = f"The platform's backup did not reach every target. {' '.join(made.faults)}"
            raise_alert(None, AlertKind.OTHER, "platform", "warning", text, "See that these targets answer.", ALERT)
        else:
            resolve_alert(None, ALERT, "The platform was backed up.")
    put = {"bytes": made.size, "targets": made.targets, "faults": made.faults}
    return {"backup": made.name, "number": made.number, **put}


def _go_on(job: Job) -> None:
    """Keep the claim. RebuildRefused when it was lost: somebody else makes a backup already."""
    if not renew(job):
        raise RebuildRefused("This job was given to another worker meanwhile.")
