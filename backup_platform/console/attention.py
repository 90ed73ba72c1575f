"""What needs attention: the open alerts of whoever looks, the worst first. One query, bounded."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from backup_platform.notifications.models import Alert
from backup_platform.notifications.words import Level
from backup_platform.tenants.access import Actor, may

SHOWN = 8
TONES = {Level.ERROR: "bad", Level.WARNING: "warning", Level.INFO: "busy"}
ICONS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "info"}


@dataclass(frozen=True)
class Concern:
    """One open alert, as the dashboard shows it: tone, icon and word, so that colour alone says nothing."""

    alert: Alert
    tone: str
    icon: str
    word: str
    link: str


@dataclass(frozen=True)
class Attention:
    """The first concerns; `more`: there are others on the list of alerts."""

    concerns: list[Concern]
    more: bool
    link: str


def needs_attention(actor: Actor) -> Attention | None:
    """The open alerts in the scope in force that nobody has acknowledged; None for who may not see alerts."""
    if not may(actor, "view", "notifications.Alert"):
        return None
    waiting = Alert.objects.filter(resolved_at__isnull=True, acknowledged_at__isnull=True).select_related("tenant")
    found = list(waiting.order_by("-level", "-opened_at")[: SHOWN + 1])
    link = reverse("admin:notifications_alert_changelist") + "?standing=open"
    return Attention([_concern(alert) for alert in found[:SHOWN]], len(found) > SHOWN, link)


def _concern(alert: Alert) -> Concern:
    level = Level(alert.level)
    return Concern(
        alert, TONES[level], ICONS[level], level.label, reverse("admin:notifications_alert_change", args=[alert.pk])
    )
