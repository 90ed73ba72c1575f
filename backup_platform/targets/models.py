"""Targets: local directories and S3 buckets that hold packs, of one tenant or shared by the platform."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class TargetKind(models.TextChoices):
    """What a target is made of."""

    LOCAL = "local", "Local directory"
    S3 = "s3", "S3-compatible bucket"


class TargetState(models.TextChoices):
    """What a target is used for."""

    NEW = "new", "Waits for its probe"
    """It was not found good yet: nothing is written there, and nothing lies there that anybody counts on."""
    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    """Nothing is written; what is there is read."""
    DRAINING = "draining", "Draining"
    """Nothing new is written; what is there is copied elsewhere, then goes."""
    RETIRED = "retired", "Retired"
    """Empty, and no longer asked."""


class Target(models.Model):
    """A place that holds packs. Without a tenant it is shared by the platform; a key begins with its own tenant."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.PROTECT, null=True, blank=True, related_name="targets",
        help_text="Empty: shared by the platform.",
    )  # fmt: skip
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=TargetKind.choices)
    state = models.CharField(max_length=16, choices=TargetState.choices, default=TargetState.ACTIVE)
    home = models.BooleanField(
        default=False, help_text="The directory of this installation, where every pack and record comes first."
    )
    path = models.CharField(max_length=400, blank=True, default="", help_text="Of a local directory.")
    endpoint = models.CharField(max_length=300, blank=True, default="", help_text="Of a bucket; empty: AWS itself.")
    region = models.CharField(max_length=50, blank=True, default="")
    bucket = models.CharField(max_length=63, blank=True, default="")
    prefix = models.CharField(
        max_length=100, blank=True, default="", help_text="Before every key, without slashes at its ends."
    )
    sealed = models.BinaryField(default=bytes, blank=True, help_text="Its credentials, encrypted; never shown again.")
    allow_private = models.BooleanField(
        default=False, help_text="The endpoint may be a private address (platform staff)."
    )
    storage_class = models.CharField(max_length=30, blank=True, default="")
    lock_days = models.PositiveIntegerField(null=True, blank=True, help_text="Object Lock: days; empty: none.")
    parity_percent = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(50)], help_text="Reed-Solomon parity beside each pack; 0: none."
    )
    capacity_bytes = models.BigIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    watermark_percent = models.PositiveSmallIntegerField(
        default=85, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    price = models.DecimalField(
        max_digits=10, decimal_places=4, null=True, blank=True, help_text="A month, for 1 GB (10⁹ bytes)."
    )
    currency = models.CharField(max_length=3, blank=True, default="")
    flags = models.JSONField(default=dict, blank=True, help_text="What the probe found out.")
    probed_at = models.DateTimeField(null=True, blank=True)
    away_since = models.DateTimeField(null=True, blank=True, help_text="Since when it has not answered.")
    fault = models.CharField(max_length=500, blank=True, default="")
    created_by = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], nulls_distinct=False, name="one_target_name_per_tenant"),
            models.UniqueConstraint(fields=["home"], condition=Q(home=True), name="one_home_target"),
            models.CheckConstraint(condition=Q(kind__in=TargetKind.values), name="known_target_kind"),
            models.CheckConstraint(condition=Q(state__in=TargetState.values), name="known_target_state"),
            models.CheckConstraint(condition=Q(home=False) | Q(tenant__isnull=True), name="home_target_is_shared"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def was_found_good(self) -> bool:
        """Whether the last probe of it as it is now found all that is needed."""
        return bool(self.flags.get("usable"))
