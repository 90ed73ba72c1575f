"""The one work list. Rows are the truth; a message to a worker is only a wake-up."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class JobKind(models.TextChoices):
    """What a job does."""

    BACKUP = "backup", "Backup"
    RESTORE = "restore", "Restore"
    VERIFY = "verify", "Verify"
    DEDUPLICATE = "deduplicate", "Deduplicate"
    TIER = "tier", "Tier"
    EXPIRE = "expire", "Expire"
    RECLAIM = "reclaim", "Reclaim"
    COMPACT = "compact", "Compact"
    SCRUB = "scrub", "Scrub"
    HEAL = "heal", "Heal"
    DRILL = "drill", "Drill"
    REBUILD = "rebuild", "Rebuild"
    REPORT = "report", "Report"


class JobState(models.TextChoices):
    """Where a job stands."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class Job(models.Model):
    """One piece of work. ``subject`` names what it works on: ``pack:<id>``, ``snapshot:<id>``."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    kind = models.CharField(max_length=16, choices=JobKind.choices)
    subject = models.CharField(max_length=100)
    dedupe_key = models.CharField(max_length=200, help_text="No two unfinished jobs have the same.")
    state = models.CharField(max_length=16, choices=JobState.choices, default=JobState.QUEUED)
    attempts = models.PositiveIntegerField(default=0, help_text="Raised before the work, so that a crash counts.")
    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    sent_count = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    progress = models.JSONField(default=dict, blank=True)
    last_error = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["dedupe_key"], condition=models.Q(state__in=["queued", "running"]), name="one_unfinished_job"
            ),
            models.CheckConstraint(condition=models.Q(state__in=JobState.values), name="known_job_state"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"], condition=models.Q(state__in=["queued", "running"]), name="job_due"
            ),
            models.Index(fields=["subject"], name="job_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class WorkerBeat(models.Model):
    """When a worker last did a task for real: how *no worker is at work* is known."""

    name = models.CharField(max_length=200, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
