"""Commits whose objects are in the store, and whose snapshot's row is not written yet."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from backup_platform.catalog.models import Session
from backup_platform.fleet.models import Machine
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager
from backup_platform.vaults.models import Vault


class Publication(models.Model):
    """What a commit is about to put into the store; the row goes when the snapshot's comes.

    One that stays behind names the objects of a commit that was refused late: nobody has to list a store to find them.
    """

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, editable=False, help_text="The snapshot's id.")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    vault = models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="+")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="+")
    session = models.ForeignKey(Session, on_delete=models.CASCADE, related_name="+")
    sequence = models.BigIntegerField()
    at = models.DateTimeField(auto_now=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["at"]

    def __str__(self) -> str:
        return self.id.hex[:12]
