"""When packs are copied to a target and when they may leave the home directory; what is left to be unlinked."""

from __future__ import annotations

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from backup_platform.catalog.models import Pack
from backup_platform.targets.models import Target
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager

MOST_DAYS = 3660


class CopyWhen(models.TextChoices):
    """When a pack is copied."""

    VERIFIED = "verified", "As soon as it is verified"
    DAYS = "days", "Some days after it was verified"
    WATERMARK = "watermark", "When the home directory is over its watermark"


class EvictWhen(models.TextChoices):
    """When the copy in the home directory may go."""

    NEVER = "never", "Never"
    DAYS = "days", "Some days after it was verified"
    WATERMARK = "watermark", "When the home directory is over its watermark"


def _days() -> models.PositiveIntegerField[int, int]:
    return models.PositiveIntegerField(default=0, validators=[MaxValueValidator(MOST_DAYS)])


class TierRule(models.Model):
    """Packs of a tenant (or, without one, of every tenant) are copied to a target, and may then leave this host."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(
        Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="tier_rules",
        help_text="Empty: for every tenant.",
    )  # fmt: skip
    target = models.ForeignKey(Target, on_delete=models.PROTECT, related_name="tier_rules")
    copy_when = models.CharField(max_length=16, choices=CopyWhen.choices, default=CopyWhen.VERIFIED)
    copy_days = _days()
    at_once = models.BooleanField(
        default=False,
        help_text="Copy small packs too as soon as they are due. Otherwise packs under 16 MiB wait for up to 24 hours, "
        "so that they are joined first.",
    )
    evict_when = models.CharField(max_length=16, choices=EvictWhen.choices, default=EvictWhen.NEVER)
    evict_days = _days()
    min_copies = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1), MaxValueValidator(10)],
        help_text="So many good copies at targets must have been read back before the local one goes.",
    )  # fmt: skip
    paused_at = models.DateTimeField(null=True, blank=True)
    created_by = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "target"], nulls_distinct=False, name="one_tier_rule_per_tenant_and_target"
            ),
            models.CheckConstraint(condition=Q(copy_when__in=CopyWhen.values), name="known_copy_when"),
            models.CheckConstraint(condition=Q(evict_when__in=EvictWhen.values), name="known_evict_when"),
            models.CheckConstraint(condition=Q(min_copies__gte=1), name="evicting_needs_a_copy"),
        ]

    def __str__(self) -> str:
        return f"rule {self.pk}"


class Leftover(models.Model):
    """The file of a pack in the home directory that nothing reads any more: it goes after `unlink_at`."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    pack = models.OneToOneField(Pack, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=400)
    unlink_at = models.DateTimeField()

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["unlink_at"]
        indexes: ClassVar = [models.Index(fields=["unlink_at"], name="leftover_unlink")]

    def __str__(self) -> str:
        return self.key


class Patience(models.Model):
    """A target that failed: how often in a row, and when it is asked again. No row: nothing is wrong."""

    tenant_path = "target__tenant"

    target = models.OneToOneField(Target, on_delete=models.CASCADE, primary_key=True, related_name="+")
    failures = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField()

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name_plural = "patience"

    def __str__(self) -> str:
        return f"{self.failures} failures"
