"""Where copies are: a row for each pack, and for each snapshot's objects, at each target besides the home directory."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.targets.models import Target
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class CopyState(models.TextChoices):
    """What is known of a copy. Only *good* ones count: they were read back, or their checksum was."""

    WRITING = "writing", "Writing"
    GOOD = "good", "Good"
    DAMAGED = "damaged", "Damaged"
    GONE = "gone", "Gone"
    LEAVING = "leaving", "Leaving"
    """It is to be removed once nobody reads it any more (`leaves_at`)."""


class Copy(models.Model):
    """A pack at a target. The home directory has none: there, `Pack.place` tells."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    pack = models.ForeignKey(Pack, on_delete=models.CASCADE, related_name="copies")
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="copies")
    state = models.CharField(max_length=16, choices=CopyState.choices, default=CopyState.WRITING)
    key = models.CharField(max_length=400)
    bytes = models.BigIntegerField(default=0)
    written_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True, help_text="When it was last read as a whole and matched.")
    leaves_at = models.DateTimeField(null=True, blank=True)
    parity_bytes = models.BigIntegerField(default=0)
    fault = models.CharField(max_length=500, blank=True, default="")
    thaw_asked_at = models.DateTimeField(null=True, blank=True, help_text="When cold storage was asked for it.")
    thaw_looked_at = models.DateTimeField(null=True, blank=True)
    thawed_at = models.DateTimeField(null=True, blank=True, help_text="When it was seen that it can be read.")
    thaw_for = models.CharField(max_length=200, blank=True, default="", help_text="On whose behalf it was asked for.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name_plural = "copies"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["pack", "target"], name="one_copy_per_target"),
            models.CheckConstraint(condition=Q(state__in=CopyState.values), name="known_copy_state"),
        ]
        indexes: ClassVar = [models.Index(fields=["target", "state"], name="copy_target_state")]

    def __str__(self) -> str:
        return f"pack {self.pack_id} at {self.target_id}"  # ids: a shared target is out of a tenant's sight


class SnapshotCopy(models.Model):
    """A snapshot at a target: its objects first (at commit), then *complete* once all its packs are there too."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="copies")
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="+")
    objects_at = models.DateTimeField(null=True, blank=True, help_text="When root, recipients and statement were put.")
    lifecycle = models.PositiveIntegerField(default=0, help_text="How many of its lifecycle records are there.")
    complete_at = models.DateTimeField(null=True, blank=True, help_text="When all that it needs was there.")
    fault = models.CharField(max_length=500, blank=True, default="")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = "snapshot at a target"
        verbose_name_plural = "snapshots at targets"
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["snapshot", "target"], name="one_snapshot_per_target")]

    def __str__(self) -> str:
        return f"snapshot {self.snapshot_id} at {self.target_id}"
