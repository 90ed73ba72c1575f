"""Vaults: key and dedup domains inside a tenant. The server holds public records and wrapped secrets only."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class Vault(models.Model):
    """A key and dedup domain; every machine belongs to one."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, editable=False, help_text="Made by the customer, with the keys.")
    number = models.BigIntegerField(
        unique=True, editable=False, help_text="Short name of the vault in the chunk tables, which have a billion rows."
    )
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="vaults")
    name = models.CharField(max_length=100)
    record = models.BinaryField(help_text="The newest vault record, signed by the vault's signing key.")
    record_number = models.BigIntegerField()
    signing_key_hash = models.BinaryField(max_length=32)
    epoch = models.BigIntegerField(default=1)
    generation = models.BigIntegerField(
        default=1,
        help_text="Raised when chunks were lost, damaged or reclaimed: agents then ask about all they cached.",
    )
    next_number = models.BigIntegerField(default=0, help_text="The number that the vault's next new chunk gets.")
    operator_made = models.BooleanField(
        default=False, help_text="Its keys were made on the server, which was trusted at that moment."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [models.UniqueConstraint(fields=["tenant", "name"], name="one_vault_name_per_tenant")]

    def __str__(self) -> str:
        return self.name


class WrappedSecret(models.Model):
    """A vault's dedup secret of one epoch, wrapped to a recipient that the server is not."""

    tenant_path = "vault__tenant"

    id = models.BigAutoField(primary_key=True)
    vault = models.ForeignKey(Vault, on_delete=models.PROTECT, related_name="wrapped_secrets")
    epoch = models.BigIntegerField()
    recipient_key_hash = models.BinaryField(max_length=32)
    data = models.BinaryField()

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["vault", "epoch", "recipient_key_hash"], name="one_wrapped_secret_per_recipient"
            )
        ]

    def __str__(self) -> str:
        return f"epoch {self.epoch} for {bytes(self.recipient_key_hash).hex()[:12]}"
