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

    PENDING = "pending", "Waiting for approval"
    ACTIVE = "active", "Active"
    REVOKED = "revoked", "Revoked"
    DECOMMISSIONED = "decommissioned", "Decommissioned"


class MachineGroup(models.Model):
    """A bundle of machines. Policies and roles may speak of groups; a machine may be in several."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="machine_groups")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True, default="")
    rank = models.IntegerField(
        default=100, help_text="Where two groups of a machine override the same setting, the lower rank counts."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="one_group_name_per_tenant"),
        ]

    def __str__(self) -> str:
        return self.name


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
    groups = models.ManyToManyField(MachineGroup, through="GroupMembership", related_name="machines", blank=True)
    tags = models.JSONField(default=list, blank=True, help_text="Words to find it by.")
    zone = models.CharField(max_length=64, blank=True, default="", help_text="Its IANA time zone, as it says.")
    paused_at = models.DateTimeField(null=True, blank=True, help_text="While set, it is offered no backups.")
    connected_to = models.CharField(
        max_length=64, blank=True, default="", help_text="The gateway that holds its control connection."
    )
    connected_at = models.DateTimeField(null=True, blank=True)
    disconnected_at = models.DateTimeField(null=True, blank=True)
    clock_offset = models.FloatField(default=0.0, help_text="Seconds that its clock is ahead of the gateway's.")
    retries = models.JSONField(default=dict, blank=True, help_text="How often it had to try again, by kind.")

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


class GroupMembership(models.Model):
    """A machine's place in a group."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    group = models.ForeignKey(MachineGroup, on_delete=models.CASCADE, related_name="memberships")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="memberships")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["group", "machine"], name="one_place_in_a_group"),
        ]

    def __str__(self) -> str:
        return f"{self.machine_id} in {self.group_id}"


class GatewayBeat(models.Model):
    """When a gateway was last at work: a machine that is connected to a dead gateway is not online."""

    name = models.CharField(max_length=64, primary_key=True)
    seen_at = models.DateTimeField()
    address = models.CharField(max_length=255, blank=True, default="")
    connections = models.PositiveIntegerField(default=0)
    backups = models.PositiveIntegerField(default=0)

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
    group = models.ForeignKey(MachineGroup, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    needs_approval = models.BooleanField(
        default=False, help_text="Its machines may not connect before somebody has compared the fingerprint."
    )

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-created_at"]
        verbose_name = "enrolment"

    def __str__(self) -> str:
        return f"enrolment token of {self.created_at:%Y-%m-%d %H:%M}"
