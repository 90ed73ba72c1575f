"""Retention's rows: what is in force, what was announced, what expired, what is held, what was recorded."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.policies.models import Policy
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class RetentionRules(models.Model):
    """What a tenant decides about expiry as such. Empty: as the platform says."""

    tenant_path = "tenant"

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, primary_key=True, related_name="retention_rules")
    undelete_days = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(365)],
        help_text="How many days an expired snapshot can be brought back. Empty: as the platform says; never fewer.",
    )  # fmt: skip
    shrink_days = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(90)],
        help_text="When a policy that keeps less takes effect: after so many days. Empty: as the platform says.",
    )  # fmt: skip
    guard_percent = models.PositiveSmallIntegerField(
        default=50, validators=[MinValueValidator(5), MaxValueValidator(95)],
        help_text="A run that would drop more of a machine's good snapshots stops, and asks a person.",
    )  # fmt: skip
    release_needs_second = models.BooleanField(
        "a second person releases holds", default=False,
        help_text="One person asks for the release of a hold, another one agrees. Holds set while this is on keep it.",
    )  # fmt: skip
    looked_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When the last run began.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = verbose_name_plural = "expiry delays"

    def __str__(self) -> str:
        return "Rules of expiry"


class Term(models.Model):
    """The rules in force for one series: a policy's snapshots on a machine, or (no policy) those made by hand there.

    Derived from policies and assignments, but slower: what keeps less becomes `pending` first.
    """

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="retention_terms")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, null=True, blank=True, related_name="retention_terms")
    in_force = models.JSONField(default=dict, blank=True)
    pending = models.JSONField(null=True, blank=True)
    takes_effect_at = models.DateTimeField(null=True, blank=True)
    ages = models.JSONField(default=list, blank=True, help_text="[since, days]: minimum ages, oldest first.")
    changed_at = models.DateTimeField(auto_now=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["machine", "policy"], nulls_distinct=False, name="one_retention_term_per_series"
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["takes_effect_at"], condition=Q(takes_effect_at__isnull=False), name="term_takes_effect"
            ),
        ]

    def __str__(self) -> str:
        return f"retention of {self.policy_id or 'what was made by hand'} on {self.machine_id}"


class Expiry(models.Model):
    """One expiry of a snapshot: why, by whom, until when it can surely be brought back, and whether it was."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="expiries")
    at = models.DateTimeField()
    by = models.CharField(max_length=200)
    because = models.CharField(max_length=300)
    until = models.DateTimeField(help_text="Its data stays at least until then.")
    generation = models.BigIntegerField(default=0, help_text="The vault's catalogue generation at that moment.")
    brought_back_at = models.DateTimeField(null=True, blank=True)
    brought_back_by = models.CharField(max_length=200, blank=True, default="")
    protected_until = models.DateTimeField(null=True, blank=True, help_text="Brought back: no rule drops it before.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-at", "-id"]
        verbose_name = "expired snapshot"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["snapshot"], condition=Q(brought_back_at__isnull=True), name="one_open_expiry_per_snapshot"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant", "-at"], name="expiry_tenant_at"),
            models.Index(fields=["until"], condition=Q(brought_back_at__isnull=True), name="expiry_until"),
        ]

    def __str__(self) -> str:
        return f"expiry of {self.snapshot_id.hex[:12]}"


class ExpiryStop(models.Model):
    """A run that would have dropped too much of a machine, and stopped. Confirmed: exactly these may go."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="expiry_stops")
    snapshots = models.JSONField(default=list, help_text="The ids that would have expired.")
    dropping = models.PositiveIntegerField(default=0, help_text="Good snapshots among them.")
    good = models.PositiveIntegerField(default=0, help_text="Good snapshots of the machine at that moment.")
    found_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True, blank=True)
    confirmed_by = models.CharField(max_length=200, blank=True, default="")
    closed_at = models.DateTimeField(null=True, blank=True, help_text="Done, or no longer asked.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-found_at"]
        verbose_name = "stopped expiry"
        verbose_name_plural = "stopped expiries"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["machine"], condition=Q(closed_at__isnull=True), name="one_open_stop_per_machine"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.dropping} of {self.good} good snapshots of one machine"


class HoldScope(models.TextChoices):
    """What a hold covers, now and in future."""

    MACHINE = "machine", "A machine"
    POLICY = "policy", "What a policy makes"
    SNAPSHOT = "snapshot", "One snapshot"
    TENANT = "tenant", "Everything of the tenant"


class Hold(models.Model):
    """A legal hold: nothing that it covers expires, nor goes for good, while it is in force."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="holds")
    case = models.CharField(max_length=100, help_text="The name or number under which the matter is known.")
    reason = models.CharField(max_length=500)
    scope = models.CharField(max_length=16, choices=HoldScope.choices)
    machine = models.ForeignKey(Machine, on_delete=models.PROTECT, null=True, blank=True, related_name="holds")
    policy = models.ForeignKey(Policy, on_delete=models.SET_NULL, null=True, blank=True, related_name="holds")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.PROTECT, null=True, blank=True, related_name="holds")
    about = models.CharField(max_length=200, blank=True, default="", help_text="Its name when the hold was set.")
    received_from = models.DateTimeField(
        null=True, blank=True, help_text="Of these, only what was received from then on. Empty: from the beginning."
    )
    received_until = models.DateTimeField(
        null=True, blank=True, help_text="Only what was received before. Empty: whatever comes."
    )
    until = models.DateTimeField(null=True, blank=True, help_text="Ends by itself then. Empty: until it is released.")
    needs_second = models.BooleanField(default=False, help_text="Its release takes two persons.")
    set_by = models.CharField(max_length=200)
    set_at = models.DateTimeField(auto_now_add=True)
    asked_by = models.CharField(max_length=200, blank=True, default="")
    asked_at = models.DateTimeField(null=True, blank=True)
    asked_because = models.CharField(max_length=300, blank=True, default="")
    released_by = models.CharField(max_length=200, blank=True, default="")
    released_at = models.DateTimeField(null=True, blank=True)
    released_because = models.CharField(max_length=300, blank=True, default="")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-set_at"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(scope__in=HoldScope.values), name="known_hold_scope"),
            models.CheckConstraint(
                condition=Q(scope="tenant", machine__isnull=True, policy__isnull=True, snapshot__isnull=True)
                | Q(scope="machine", machine__isnull=False, policy__isnull=True, snapshot__isnull=True)
                | Q(scope="policy", machine__isnull=True, policy__isnull=False, snapshot__isnull=True)
                # A policy may go once its hold was released; the hold's row stays, with its name.
                | Q(scope="policy", machine__isnull=True, snapshot__isnull=True, released_at__isnull=False)
                | Q(scope="snapshot", machine__isnull=True, policy__isnull=True, snapshot__isnull=False),
                name="hold_names_its_scope",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant"], condition=Q(released_at__isnull=True), name="hold_in_force"),
        ]

    def __str__(self) -> str:
        return self.case


class LifecycleEntry(models.Model):
    """A lifecycle record that is to be in the store: written after its cause was committed, numbered when written."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    snapshot = models.ForeignKey(Snapshot, on_delete=models.CASCADE, related_name="lifecycle_entries")
    event = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    detail = models.JSONField(default=dict)
    hold = models.ForeignKey(Hold, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    number = models.PositiveIntegerField(null=True, blank=True, help_text="Its place in the store; empty: not written.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["hold", "snapshot", "event"], condition=Q(hold__isnull=False), name="one_entry_per_hold_event"
            ),
            models.UniqueConstraint(fields=["snapshot", "number"], name="one_entry_per_number"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["tenant"], condition=Q(number__isnull=True), name="lifecycle_unwritten"),
        ]

    def __str__(self) -> str:
        return f"event {self.event} of {self.snapshot_id.hex[:12]}"


# A table of the same app, imported from here by everybody: hence the alias.
from backup_platform.retention.clock_models import ClockWatch as ClockWatch  # noqa: E402, PLC0414
