"""What people do about alerts: acknowledge, snooze, send again. Each leaves a line in the audit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.notifications.models import UNSENT, Alert, Delivery, Snooze
from backup_platform.notifications.services import close
from backup_platform.notifications.words import DeliveryState, Event
from backup_platform.tenants.access import Actor

LONGEST_SNOOZE = timedelta(days=90)


class ActRefused(ValueError):
    """Something cannot be done to an alert, a snooze or a delivery; the text says why and what to do."""


def acknowledge(alert: Alert, *, actor: str) -> bool:
    """Somebody looks after it: no more reminders. False when that was said before, or the alert is over."""
    with transaction.atomic():
        fresh = Alert.objects.filter(pk=alert.pk, acknowledged_at__isnull=True, resolved_at__isnull=True)
        done = fresh.update(acknowledged_at=timezone.now(), acknowledged_by=actor[:200])
        if done:
            _note("alert.acknowledged", actor, f"alert:{alert.pk}", alert.tenant_id, text=alert.text)
    return bool(done)


def close_alert(alert: Alert, *, actor: str) -> bool:
    """Somebody says that it is over, for what nothing will close by itself (a failed restore that nobody needs again).

    What a rule still finds is opened anew within a minute. False when it was over before.
    """
    with transaction.atomic():
        done = close(Alert.objects.filter(pk=alert.pk), f"Closed by {actor}.")
        if done:
            _note("alert.closed", actor, f"alert:{alert.pk}", alert.tenant_id, text=alert.text)
    return bool(done)


def snooze(
    tenant_id: UUID | None, *, until: datetime, actor: str, kind: str = "", subject: str = "", reason: str = ""
) -> Snooze:
    """Tell nobody of such alerts until then; what is still wrong afterwards is told at once.

    Without a kind and a subject it is a maintenance window. Raises ActRefused for a time that is past or further away
    than 90 days.
    """
    left = until - timezone.now()
    if left <= timedelta(0):
        raise ActRefused("The snooze would be over already: choose a time that is still to come.")
    if left > LONGEST_SNOOZE:
        raise ActRefused("A snooze lasts 90 days at most: a longer silence is a channel that should be paused.")
    with transaction.atomic():
        made = Snooze.objects.create(
            tenant_id=tenant_id, kind=kind, subject=subject, until=until, by=actor[:200], reason=reason[:200]
        )
        _note("alerts.snoozed", actor, f"snooze:{made.pk}", tenant_id, kind=kind, about=subject, until=until)
    return made


def snooze_alert(alert: Alert, *, by: Actor, until: datetime, whole_kind: bool = False, reason: str = "") -> Snooze:
    """Tell nobody of what this alert is about (or of all of its kind) until then.

    Raises ActRefused as `snooze` does, and to members who see some machines only and would silence others as well.
    """
    if whole_kind and by.is_limited:
        raise ActRefused(
            "You see some machines only, and a whole kind reaches beyond them: snooze this machine's alerts, or ask "
            "somebody who sees all machines."
        )
    subject = "" if whole_kind else alert.subject
    return snooze(alert.tenant_id, until=until, actor=by.name, kind=alert.kind, subject=subject, reason=reason)


def end_snooze(row: Snooze, *, actor: str) -> None:
    """Take a snooze back."""
    with transaction.atomic():
        _note("alerts.snooze_ended", actor, f"snooze:{row.pk}", row.tenant_id, kind=row.kind, about=row.subject)
        row.delete()


def redeliver(delivery: Delivery, *, actor: str) -> None:
    """Send a message again, under the same id, so that a receiver that has it can tell.

    Raises ActRefused while it is still to be sent, and for a test.
    """
    if delivery.event == Event.TEST:
        raise ActRefused("A test is not sent again: press Test on its channel.")
    with transaction.atomic():
        ended = Delivery.objects.filter(pk=delivery.pk).exclude(state__in=UNSENT)
        again = ended.update(state=DeliveryState.QUEUED, attempts=0, next_attempt_at=timezone.now(), delivered_at=None)
        if not again:
            raise ActRefused("This message is still waiting to be sent.")
        _note("delivery.repeated", actor, f"delivery:{delivery.pk}", delivery.tenant_id, channel=delivery.channel_id)


def _note(verb: str, actor: str, named: str, tenant_id: UUID | None, **detail: Any) -> None:
    record_audit(verb, actor=actor, object=named, tenant=tenant_id, **detail)
