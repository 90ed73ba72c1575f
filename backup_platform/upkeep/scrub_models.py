"""Scrub: its calendar, when objects were last read, and what was found damaged and what became of it."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.targets.models import Target
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager
from backup_platform.vaults.models import Vault


class ScrubSettings(models.Model):
    """The platform's calendar of re-reading everything; one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    every_days = models.PositiveSmallIntegerField(
        default=30, validators=[MinValueValidator(1), MaxValueValidator(3650)],
        help_text="Each copy of everything is read once in so many days.",
    )  # fmt: skip
    from_hour = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(23)], help_text="From this hour of the day (UTC) …"
    )
    to_hour = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(23)], help_text="… to this one. The same hour twice: all day."
    )
    mib_per_second = models.PositiveIntegerField(
        "MiB per second", default=64, validators=[MaxValueValidator(100_000)],
        help_text="At most so much is read in a second, all together. 0: as fast as it goes.",
    )  # fmt: skip
    at_once = models.PositiveSmallIntegerField(
        default=2, validators=[MinValueValidator(1), MaxValueValidator(16)],
        help_text="How many copies are read side by side.",
    )  # fmt: skip
    paused = models.BooleanField(default=False, help_text="Nothing is scrubbed by itself until this is off again.")
    changed_by = models.CharField(max_length=200, blank=True, default="", editable=False)
    changed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name_plural = "scrub settings"
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="one_row_of_scrub_settings")]

    def __str__(self) -> str:
        return f"every {self.every_days} days"


class ScrubMark(models.Model):
    """When a snapshot's objects, or a vault's standing records, were last read at every place that has them."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    snapshot = models.OneToOneField(
        Snapshot, on_delete=models.CASCADE, null=True, blank=True, related_name="scrub_mark"
    )
    vault = models.OneToOneField(Vault, on_delete=models.CASCADE, null=True, blank=True, related_name="scrub_mark")
    checked_at = models.DateTimeField(default=timezone.now)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["checked_at"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(snapshot__isnull=False, vault__isnull=True) | Q(snapshot__isnull=True, vault__isnull=False),
                name="scrub_mark_has_one_subject",
            )
        ]

    def __str__(self) -> str:
        return f"read at {self.checked_at:%Y-%m-%d}"


class FindingKind(models.TextChoices):
    """What was found damaged."""

    PACK = "pack", "Pack"
    COPY = "copy", "Copy of a pack"
    PARITY = "parity", "Parity"
    OBJECT = "object", "Object of a snapshot"
    RECORD = "record", "Standing record"


class FindingState(models.TextChoices):
    """What became of it."""

    OPEN = "open", "To be healed"
    HEALED = "healed", "Healed"
    LOST = "lost", "Not to be healed from what is stored"
    """Its machine is asked again; a later look may still find a way."""


class ScrubFinding(models.Model):
    """One damaged thing at one place: found, tried, healed or not. As long as it is open it only counts up."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=16, choices=FindingKind.choices)
    state = models.CharField(max_length=16, choices=FindingState.choices, default=FindingState.OPEN)
    subject = models.CharField(max_length=100, help_text="pack:<id>, copy:<id>, snapshot:<id>, vault:<id>.")
    pack = models.ForeignKey(Pack, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    target = models.ForeignKey(
        Target,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty: the home directory.",
    )
    key = models.CharField(max_length=400, blank=True, default="")
    fault = models.CharField(max_length=500)
    records = models.PositiveIntegerField(default=0, help_text="Records that were damaged.")
    how = models.CharField(max_length=200, blank=True, default="", help_text="What it was healed from.")
    found_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now)
    count = models.PositiveIntegerField(default=1)
    healed_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-found_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["subject", "target", "key"], condition=~Q(state="healed"), nulls_distinct=False,
                name="one_open_finding",
            ),
            models.CheckConstraint(condition=Q(kind__in=FindingKind.values), name="known_finding_kind"),
            models.CheckConstraint(condition=Q(state__in=FindingState.values), name="known_finding_state"),
        ]  # fmt: skip
        indexes: ClassVar = [models.Index(fields=["state", "-found_at"], name="finding_state_found")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.fault[:60]}"


class HomeParity(models.Model):
    """The parity beside a pack in the home directory (at other targets `Copy.parity_bytes` tells)."""

    tenant_path = "pack__tenant"

    pack = models.OneToOneField(Pack, on_delete=models.CASCADE, primary_key=True, related_name="home_parity")
    bytes = models.BigIntegerField()
    made_at = models.DateTimeField(default=timezone.now)
    checked_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"

    def __str__(self) -> str:
        return f"parity of {self.pack_id}"
