"""The one work list. Rows are the truth; a message to a worker is only a wake-up."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q, Value
from django.utils import timezone

from backup_platform.fleet.models import Machine, MachineGroup
from backup_platform.policies.models import Policy
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
    OFFERED = "offered", "Offered"
    RUNNING = "running", "Running"
    CANCELLING = "cancelling", "Cancelling"
    DONE = "done", "Done"
    WARNINGS = "warnings", "Done with warnings"
    FAILED = "failed", "Failed"
    MISSED = "missed", "Missed"
    CANCELLED = "cancelled", "Cancelled"


UNFINISHED = (JobState.QUEUED, JobState.OFFERED, JobState.RUNNING, JobState.CANCELLING)
HELD = (JobState.OFFERED, JobState.RUNNING, JobState.CANCELLING)
"""A machine or a worker has it: it counts against the limits of how many run at once."""


class JobOrigin(models.TextChoices):
    """Who asked for a job."""

    SYSTEM = "system", "The platform"
    SCHEDULE = "schedule", "A schedule"
    PERSON = "person", "A person"
    MACHINE = "machine", "The machine itself"


NO_SPEC = Value({}, models.JSONField())


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
    lost = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="Times in a row that its worker died; these count as no attempts."
    )
    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    sent_count = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    machine = models.ForeignKey(
        Machine,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_index=False,  # job_machine begins with it
        related_name="jobs",
        help_text="Who does it: jobs with a machine are offered to its agent, all others are done by workers.",
    )
    policy = models.ForeignKey(
        Policy,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,  # one_job_per_due_time begins with it
        related_name="jobs",
    )
    due_at = models.DateTimeField(null=True, blank=True, help_text="The time of the schedule that it is for.")
    deadline = models.DateTimeField(null=True, blank=True, help_text="Not begun by then: missed.")
    priority = models.SmallIntegerField(default=0, db_default=0, help_text="Higher goes first, within its tenant.")
    origin = models.CharField(max_length=16, choices=JobOrigin.choices, default=JobOrigin.SYSTEM, db_default="system")
    asked_by = models.CharField(max_length=200, blank=True, default="", db_default="")
    spec = models.JSONField(
        default=dict,
        db_default=Value({}, models.JSONField()),
        blank=True,
        help_text="What the agent is to do; no secrets, ever.",
    )
    max_attempts = models.PositiveSmallIntegerField(default=5, db_default=5)
    started_at = models.DateTimeField(null=True, blank=True)
    declined_since = models.DateTimeField(
        null=True, blank=True, help_text="Since when its machine has not taken it, though it was offered."
    )
    cancel_asked_at = models.DateTimeField(null=True, blank=True)
    advice = models.CharField(
        max_length=500, blank=True, default="", db_default="", help_text="What to do about last_error."
    )
    snapshot = models.UUIDField(null=True, blank=True, help_text="What a backup made, or a restore reads.")
    gateway = models.CharField(
        max_length=64, blank=True, default="", db_default="", help_text="The gateway that offered it last."
    )
    counts = models.JSONField(default=dict, db_default=NO_SPEC, blank=True, help_text="Figures of the last report.")
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
                fields=["dedupe_key"],
                condition=models.Q(state__in=["queued", "offered", "running", "cancelling"]),
                name="one_unfinished_job",
            ),
            models.UniqueConstraint(fields=["policy", "machine", "due_at"], name="one_job_per_due_time"),
            models.CheckConstraint(condition=models.Q(state__in=JobState.values), name="known_job_state"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                condition=models.Q(state__in=["queued", "offered", "running", "cancelling"]),
                name="job_due",
            ),
            models.Index(fields=["machine", "-created_at"], name="job_machine"),
            models.Index(
                fields=["tenant", "machine"],
                condition=Q(machine__isnull=False, state__in=["offered", "running", "cancelling"]),
                name="job_held",
            ),
            models.Index(fields=["machine"], condition=Q(machine__isnull=False, state="queued"), name="job_waiting"),
            models.Index(fields=["subject"], condition=~Q(kind="backup"), name="job_subject"),
        ]

    def __str__(self) -> str:
        if self.machine_id and "machine" in self._state.fields_cache and self.machine:
            return f"{self.get_kind_display()} of {self.machine.name}"
        return f"{self.kind} {self.subject}"

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits or is at work."""
        return self.state in UNFINISHED


class JobLine(models.Model):
    """A line of a job's log: plain words, never a file's name unless the tenant opted in."""

    tenant_path = "job__tenant"

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="lines")
    at = models.DateTimeField(default=timezone.now)
    level = models.CharField(max_length=8, default="info", choices=[(one, one) for one in ("info", "warning", "error")])
    text = models.CharField(max_length=500)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return self.text


class JobLimits(models.Model):
    """How many jobs of machines may run at once: in a tenant, in one of its groups, or to a target of the platform."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    group = models.ForeignKey(MachineGroup, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    target = models.CharField(
        max_length=100,
        blank=True,
        default="",
        help_text="For a limit of the platform: the target, such as local, that all tenants write to.",
    )
    most_running = models.PositiveIntegerField(validators=[MinValueValidator(1)])

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name_plural = "job limits"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "group", "target"], nulls_distinct=False, name="one_job_limit_per_scope"
            ),
            models.CheckConstraint(
                condition=Q(tenant__isnull=False, target="")
                | Q(tenant__isnull=True, group__isnull=True) & ~Q(target=""),
                name="job_limit_has_one_scope",
            ),
        ]

    def __str__(self) -> str:
        return f"at most {self.most_running} at once in {self.group or self.tenant or self.target}"


class QueueBeat(models.Model):
    """When somebody last did a task of a queue that has workers of its own."""

    queue = models.CharField(max_length=32, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.queue


class WorkerBeat(models.Model):
    """When a worker last did a task for real: how *no worker is at work* is known."""

    name = models.CharField(max_length=200, primary_key=True)
    seen_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name
