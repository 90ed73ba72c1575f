"""What should happen by itself: policies, whom they apply to, and when each machine is due.

A policy is a bundle of settings. It applies to a machine through *assignments*: to the whole tenant, to groups, to the
machine. An assignment may override single settings; the nearest one counts (effective.py says how, and whence a value
came). `Plan` is the derived row that the scheduler's tick reads: one per policy and machine that it applies to. What
many plans say alike, their settings, is a row of its own (`PlanSettings`): a tick changes plans, and never those.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from backup_platform.fleet.models import Machine, MachineGroup
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import TenantManager


class Policy(models.Model):
    """What to back up, when, and how hard to push."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="policies")
    name = models.CharField(max_length=100)
    description = models.CharField(max_length=500, blank=True, default="")
    settings = models.JSONField(default=dict, blank=True, help_text="Setting name → value; what is absent is default.")
    version = models.PositiveIntegerField(default=1, help_text="Raised by every change.")
    paused_at = models.DateTimeField(null=True, blank=True, help_text="While set, nothing of it becomes due.")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        verbose_name_plural = "policies"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "name"], name="one_policy_name_per_tenant"),
        ]

    def __str__(self) -> str:
        return self.name


class Assignment(models.Model):
    """To whom a policy applies: a machine, a group, or, with neither, the whole tenant."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="assignments")
    group = models.ForeignKey(MachineGroup, on_delete=models.CASCADE, null=True, blank=True, related_name="assignments")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, null=True, blank=True, related_name="assignments")
    excluded = models.BooleanField(default=False, help_text="The policy does not apply here, whatever is said above.")
    overrides = models.JSONField(default=dict, blank=True, help_text="Setting name → value, instead of the policy's.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(group__isnull=True) | Q(machine__isnull=True), name="assignment_has_one_scope"
            ),
            models.UniqueConstraint(
                fields=["policy", "group", "machine"], nulls_distinct=False, name="one_assignment_per_scope"
            ),
        ]

    def __str__(self) -> str:
        # Names only where they were read already: a text asks the database nothing.
        known = self._state.fields_cache
        policy, group, machine = (known.get(name) for name in ("policy", "group", "machine"))
        return f"{policy or self.policy_id} to {machine or group or self.machine_id or self.group_id or 'the tenant'}"


class PlanSettings(models.Model):
    """Effective settings that plans of a tenant share. Never changed: other settings are another row."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, db_index=False, related_name="+")
    digest = models.CharField(max_length=64, help_text="Of `values`, as JSON.")
    values = models.JSONField(default=dict, help_text="The effective settings, as computed.")
    schedule = models.TextField(blank=True, default="", help_text="Of these, what decides times, as the tick reads it.")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name_plural = "plan settings"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tenant", "digest"], name="plan_settings_once_per_tenant"),
        ]

    def __str__(self) -> str:
        return self.digest


class Plan(models.Model):
    """When a policy is next due on a machine. Derived: `policies.planning` makes these rows from the two above."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, db_index=False, related_name="plans")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="plans")
    shared = models.ForeignKey(
        PlanSettings, on_delete=models.CASCADE, null=True, blank=True, db_index=False, related_name="plans"
    )
    next_run_at = models.DateTimeField(null=True, blank=True, help_text="None: never by itself (no schedule, paused).")
    last_due_at = models.DateTimeField(null=True, blank=True)
    fault = models.CharField(max_length=300, blank=True, default="", help_text="Why it will not run, in plain words.")
    zone = models.CharField(max_length=64, blank=True, default="", help_text="The time zone it was computed in.")
    basis = models.CharField(
        max_length=64, blank=True, default="", help_text="Fingerprint of the registry's defaults it was computed with."
    )
    computed_at = models.DateTimeField(auto_now=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["policy", "machine"], name="one_plan_per_policy_and_machine"),
        ]
        # No index has next_run_at, on purpose: so a tick changes rows in their pages, and no index at all. Looking
        # through ten thousand of these narrow rows takes two milliseconds (docs/decisions/0150).

    def __str__(self) -> str:
        return f"{self.policy_id} on {self.machine_id}"

    @property
    def settings(self) -> dict[str, Any]:
        """The effective settings, as computed."""
        return self.shared.values if self.shared is not None else {}
