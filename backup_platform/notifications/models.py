"""Alerts (what is wrong), channels (whom to tell, and how), deliveries (who was told), snoozes (what not to tell now).

A row without a tenant is the platform's own. All of it is rows first: a message to a worker only wakes somebody up.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from backup_platform.fleet.models import Machine
from backup_platform.notifications.words import AlertKind, ChannelKind, DeliveryState, Event, Level
from backup_platform.tenants.models import Tenant, User
from backup_platform.tenants.scope import TenantManager

UNSENT = (DeliveryState.QUEUED, DeliveryState.SENDING)


def hours_range() -> list[MinValueValidator | MaxValueValidator]:
    """A threshold is an hour at least and a year at most."""
    return [MinValueValidator(1), MaxValueValidator(8784)]


class Channel(models.Model):
    """A way to tell somebody. `sealed` holds its secret parts (a webhook's address and keys), never shown again."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="channels",
                               help_text="Empty: the platform's own.")  # fmt: skip
    person = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, blank=True, related_name="channels",
        help_text="Whose it is: used only while this person is a member of the tenant. Empty: the whole tenant's.",
    )  # fmt: skip
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=ChannelKind.choices)
    settings = models.JSONField(default=dict, blank=True, help_text="What may be shown: addresses, a host.")
    sealed = models.BinaryField(default=bytes, blank=True, help_text="Its secrets, encrypted.")
    lowest_level = models.PositiveSmallIntegerField(choices=Level.choices, default=Level.WARNING)
    kinds = models.JSONField(default=list, blank=True, help_text="The kinds of alert it wants; empty: all.")
    tell_recovery = models.BooleanField(default=True, help_text="Also say when it is over.")
    remind_hours = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(720)],
        help_text="Say it again after so many hours while nobody has acknowledged it. Empty: never.",
    )  # fmt: skip
    every_tenant = models.BooleanField(
        default=False, help_text="A channel of the platform that also hears of every tenant's alerts."
    )
    paused_at = models.DateTimeField(null=True, blank=True)
    pause_reason = models.CharField(max_length=200, blank=True, default="")
    created_by = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "name"], nulls_distinct=False, name="one_channel_name_per_tenant"
            ),
            models.CheckConstraint(condition=Q(kind__in=ChannelKind.values), name="known_channel_kind"),
        ]

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """Something that is wrong, once: as long as it is open, the same key only counts up."""

    tenant_path = "tenant"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    machine = models.ForeignKey(Machine, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    kind = models.CharField(max_length=32, choices=AlertKind.choices)
    subject = models.CharField(max_length=100, help_text="What it is about: machine:<id>, job:<id>, tenant, …")
    level = models.PositiveSmallIntegerField(choices=Level.choices)
    text = models.CharField(max_length=500)
    advice = models.CharField(max_length=500, blank=True, default="")
    dedupe_key = models.CharField(max_length=200)
    opened_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    count = models.PositiveIntegerField(default=1)
    announced_level = models.PositiveSmallIntegerField(default=0, help_text="The highest level that was told.")
    pending = models.BooleanField(default=True, help_text="Something of it is still to be told.")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.CharField(max_length=200, blank=True, default="")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=500, blank=True, default="")

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-opened_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["tenant", "dedupe_key"], condition=Q(resolved_at__isnull=True), nulls_distinct=False,
                name="one_open_alert",
            ),
            models.CheckConstraint(condition=Q(level__in=Level.values), name="known_alert_level"),
        ]  # fmt: skip
        indexes: ClassVar = [
            models.Index(fields=["opened_at"], condition=Q(pending=True), name="alert_pending"),
            models.Index(fields=["kind"], condition=Q(resolved_at__isnull=True), name="alert_open_kind"),
            models.Index(fields=["tenant", "-opened_at"], name="alert_tenant_opened"),
        ]

    def __str__(self) -> str:
        return self.text


class Snooze(models.Model):
    """Until when not to tell: of a kind, of a subject, of both, or (a maintenance window) of everything."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="snoozes")
    kind = models.CharField(max_length=32, choices=AlertKind.choices, blank=True, default="",
                            help_text="Empty: every kind.")  # fmt: skip
    subject = models.CharField(max_length=100, blank=True, default="", help_text="Empty: whatever it is about.")
    until = models.DateTimeField(db_index=True)
    by = models.CharField(max_length=200, blank=True, default="")
    reason = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-until"]

    def __str__(self) -> str:
        return f"{self.get_kind_display() if self.kind else 'Everything'} until {self.until:%Y-%m-%d %H:%M} UTC"


class Delivery(models.Model):
    """One message to one channel. `uid` is the message's own id: it stays the same however often it is tried."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries",
                               help_text="The channel's.")  # fmt: skip
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, null=True, blank=True, related_name="deliveries",
                              help_text="Empty for a test.")  # fmt: skip
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=16, choices=Event.choices)
    number = models.PositiveIntegerField(default=0, help_text="The level that was opened, or which reminder.")
    state = models.CharField(max_length=16, choices=DeliveryState.choices, default=DeliveryState.QUEUED)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    lease_owner = models.CharField(max_length=64, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        ordering: ClassVar = ["-created_at"]
        verbose_name_plural = "deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["alert", "channel", "event", "number"], name="told_once"),
            models.CheckConstraint(condition=Q(state__in=DeliveryState.values), name="known_delivery_state"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_attempt_at"], condition=Q(state__in=["queued", "sending"]), name="delivery_due"),
            models.Index(fields=["channel", "-created_at"], name="delivery_channel"),
        ]

    def __str__(self) -> str:
        return f"{self.get_event_display()} to {self.channel_id}"


class WatchRules(models.Model):
    """A tenant's thresholds, in hours. A tenant without a row has the defaults."""

    tenant_path = "tenant"

    id = models.BigAutoField(primary_key=True)
    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, related_name="watch_rules")
    server_silent = models.PositiveIntegerField("silent: servers", default=24, validators=hours_range())
    laptop_silent = models.PositiveIntegerField("silent: laptops", default=14 * 24, validators=hours_range())
    server_overdue = models.PositiveIntegerField("overdue: servers", default=6, validators=hours_range())
    laptop_overdue = models.PositiveIntegerField("overdue: laptops", default=7 * 24, validators=hours_range())
    server_stale = models.PositiveIntegerField("no good backup: servers", default=48, validators=hours_range())
    laptop_stale = models.PositiveIntegerField("no good backup: laptops", default=21 * 24,
                                               validators=hours_range())  # fmt: skip
    tenant_stale = models.PositiveIntegerField("no good backup at all", default=30, validators=hours_range())

    objects = TenantManager()

    class Meta:
        base_manager_name = "objects"
        verbose_name = verbose_name_plural = "thresholds"

    def __str__(self) -> str:
        return f"thresholds of {self.tenant_id}"


class Turn(models.Model):
    """When something that one worker at a time does was last begun: the sweep of the rules, the outside ping."""

    name = models.CharField(max_length=32, primary_key=True)
    at = models.DateTimeField()
    note = models.CharField(max_length=200, blank=True, default="", help_text="How it ended.")

    def __str__(self) -> str:
        return self.name
