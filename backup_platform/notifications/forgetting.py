"""What is over long ago goes: the log of deliveries after 90 days, alerts after a year, snoozes after 90 days."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from backup_platform.notifications.models import UNSENT, Alert, Delivery, Snooze
from backup_platform.notifications.turns import take_turn

KEEP_DELIVERIES = KEEP_SNOOZES = timedelta(days=90)
KEEP_ALERTS = timedelta(days=365)
MOST = 10_000
"""Rows of a kind in one go; the rest goes at the next turn."""


def forget_when_due() -> bool:
    """Once an hour; whether it was this worker's turn. What belongs to an open alert stays: reminders count by it."""
    if not take_turn("forget", timedelta(hours=1)):
        return False
    now = timezone.now()
    sent = Delivery.objects.exclude(state__in=UNSENT).exclude(alert__isnull=False, alert__resolved_at__isnull=True)
    _drop(sent.filter(created_at__lt=now - KEEP_DELIVERIES))
    _drop(Alert.objects.filter(resolved_at__lt=now - KEEP_ALERTS))
    _drop(Snooze.objects.filter(until__lt=now - KEEP_SNOOZES))
    return True


def _drop(rows: Any) -> None:
    rows.model.objects.filter(pk__in=list(rows.order_by().values_list("pk", flat=True)[:MOST])).delete()
