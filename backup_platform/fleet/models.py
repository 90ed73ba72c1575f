"""Machines and how they enrol."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models

from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager
from backup_platform.vaults.models import Vault


class MachineState(models.TextChoices):
    """Whether a machine may connect."""

    ACTIVE = "active", "Active"
    REVOKED = "revoked", "Revoked"


class Machine(models.Model):
    """The record of a computer that is backed up."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="machines")
    vault = models.ForeignKey(Vault, on_delete=models.PROTECT, related_name="machines")
    name = models.CharField(max_length=255)
    identity_hash = models.BinaryField(
        max_length=32, unique=True, help_text="SHA-256 of the identity key: what a connection is recognised by."
    )
    identity_key = models.BinaryField(help_text="SubjectPublicKeyInfo, DER.")
    reading_key = models.BinaryField(help_text="SubjectPublicKeyInfo, DER.")
    certificate = models.BinaryField(help_text="DER.")
    certificate_until = models.DateTimeField()
    record = models.BinaryField(default=bytes, help_text="The machine record; empty until the agent published it.")
    write_only = models.BooleanField(default=False, help_text="May add snapshots and never read one.")
    state = models.CharField(max_length=16, choices=MachineState.choices, default=MachineState.ACTIVE)
    facts = models.JSONField(default=dict)
    enrolled_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="one_machine_name_per_tenant"),
            models.CheckConstraint(condition=models.Q(state__in=MachineState.values), name="known_machine_state"),
        ]

    def __str__(self) -> str:
        return self.name


class EnrollmentToken(models.Model):
    """A permission to enrol. The token itself is never kept, its SHA-256 is."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="enrollment_tokens")
    vault = models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="enrollment_tokens")
    token_hash = models.BinaryField(max_length=32, unique=True)
    blob = models.BinaryField(help_text="Sealed under a key that the server never has; emptied at last use or expiry.")
    machine_name = models.CharField(max_length=255, blank=True, default="")
    write_only = models.BooleanField(default=False)
    uses_left = models.PositiveIntegerField(default=1)
    expires_at = models.DateTimeField()
    created_by = models.CharField(max_length=150, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    used_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-created_at"]
        verbose_name = "enrolment"

    def __str__(self) -> str:
        return f"enrolment token of {self.created_at:%Y-%m-%d %H:%M}"
