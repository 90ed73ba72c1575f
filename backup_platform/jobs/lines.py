"""The log of a job: what its agent said, in lines of bounded length and number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction

from backup_platform.jobs.causes import clean_text
from backup_platform.jobs.models import Job, JobLine, JobState
from backup_platform.tenants.scope import without_tenant_scope

MOST_LINES = 1_000
"""Kept of a job: the newest, for what went wrong stands at the end."""
MOST_AT_ONCE = 1_000
LEVELS = ("info", "warning", "error")


def add_lines(job_id: UUID, lease: str, lines: Sequence[Mapping[str, Any]]) -> bool:
    """Append lines {level, text} to the log of a job that this lease holds. False: the lease was lost.

    Text is cut at 500 printable characters. Beyond a thousand lines the oldest go.
    """
    with without_tenant_scope("the lease says whose job it is"), transaction.atomic():
        held = Job.objects.filter(pk=job_id, lease_owner=lease, machine__isnull=False).exclude(lease_owner="")
        if not held.filter(state__in=(JobState.RUNNING, JobState.CANCELLING)).exists():
            return False
        JobLine.objects.bulk_create([_line(job_id, said) for said in lines[-MOST_AT_ONCE:]])
        _forget_oldest(job_id)
    return True


def _line(job_id: UUID, said: Mapping[str, Any]) -> JobLine:
    level = said.get("level")
    return JobLine(job_id=job_id, level=level if level in LEVELS else "info", text=clean_text(said.get("text", "")))


def _forget_oldest(job_id: UUID) -> None:
    lines = JobLine.objects.filter(job_id=job_id)
    first_kept = lines.order_by("-id").values_list("id", flat=True)[MOST_LINES - 1 : MOST_LINES].first()
    if first_kept is not None:
        lines.filter(id__lt=first_kept).delete()
