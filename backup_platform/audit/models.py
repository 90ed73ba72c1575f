"""The audit: every destructive or security-relevant act, in a chain of hashes per tenant."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class Entry(models.Model):
    """One line of the audit. The application's database role can neither change nor delete it."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, null=True, blank=True, related_name="audit_entries")
    at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text="A user, a machine or a command.")
    verb = models.CharField(max_length=64)
    object = models.CharField(max_length=200, blank=True, default="")
    detail = models.JSONField(default=dict)
    previous = models.BinaryField(max_length=32, help_text="Digest of the chain's entry before; zeros for the first.")
    digest = models.BinaryField(max_length=32)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-id"]
        verbose_name_plural = "entries"
        indexes: ClassVar = [models.Index(fields=["tenant", "-id"], name="audit_tenant_newest")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.verb}"
