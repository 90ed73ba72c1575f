"""Writing down how deliveries ended: delivered, to be tried again after a growing pause, or given up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from backup_platform.notifications.models import Channel, Delivery
from backup_platform.notifications.outcomes import Outcome
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, DeliveryState, Level

PAUSES = (10, 30, 60, 120, 300, 600, 900, 1800)
"""Seconds until the next attempt; the last one is repeated."""
GIVE_UP_AFTER = timedelta(days=3)
TELL_AFTER_ATTEMPTS = 5
"""After so many failures of a message (some ten minutes) the channel is an alert itself, for the others to tell."""


@dataclass(slots=True)
class Delivered:
    """What one tick did."""

    planned: int = 0
    delivered: int = 0
    retried: int = 0
    failed: int = 0


def settle(deliveries: Sequence[Delivery], outcomes: Sequence[Outcome | None], done: Delivered) -> None:
    """Write down what came of a channel's deliveries, each under the claim that it was sent with."""
    channel = deliveries[0].channel
    now = timezone.now()
    with transaction.atomic():
        # Those that were not tried first: a failure then makes them wait with the rest of its channel.
        for delivery, outcome in sorted(zip(deliveries, outcomes, strict=True), key=lambda pair: pair[1] is not None):
            if outcome is None:
                _release(delivery)
            elif outcome.ok:
                done.delivered += _write(delivery, state=DeliveryState.DELIVERED, delivered_at=now, last_error="")
            else:
                _failed(delivery, outcome, now, done)
        if any(outcome and outcome.ok for outcome in outcomes):
            resolve_alert(channel.tenant_id, f"channel:{channel.pk}", "It delivers again.")


def _failed(delivery: Delivery, outcome: Outcome, now: datetime, done: Delivered) -> None:
    again = now + timedelta(seconds=pause_after(delivery.attempts))
    over = outcome.final or now - delivery.created_at > GIVE_UP_AFTER
    state = DeliveryState.FAILED if over else DeliveryState.QUEUED
    written = _write(delivery, state=state, next_attempt_at=again, last_error=outcome.fault[:300])
    done.failed += written if over else 0
    done.retried += 0 if over else written
    # The rest of the channel waits as long: asking on would only fail again.
    waiting = Delivery.objects.filter(
        channel=delivery.channel_id, state=DeliveryState.QUEUED, next_attempt_at__lt=again
    )
    waiting.update(next_attempt_at=again)
    if outcome.gone:
        Channel.objects.filter(pk=delivery.channel_id, paused_at__isnull=True).update(
            paused_at=now, pause_reason="Its receiver said that it is gone (410)."
        )
    if over or delivery.attempts >= TELL_AFTER_ATTEMPTS:
        _tell_of_channel(delivery.channel, outcome)


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt, a little spread, so that many channels do not come back at one moment."""
    return PAUSES[min(max(attempts, 1), len(PAUSES)) - 1] * random.uniform(1, 1.2)


def _release(delivery: Delivery) -> None:
    """It was claimed and not tried: no attempt of its own."""
    _write(delivery, state=DeliveryState.QUEUED, attempts=F("attempts") - 1)


def _write(delivery: Delivery, **changes: Any) -> int:
    mine = Delivery.objects.filter(pk=delivery.pk, state=DeliveryState.SENDING, lease_owner=delivery.lease_owner)
    return int(mine.update(lease_owner="", lease_until=None, **changes))


def _tell_of_channel(channel: Channel, outcome: Outcome) -> None:
    raise_alert(
        channel.tenant_id,
        AlertKind.CHANNEL,
        f"channel:{channel.pk}",
        Level.WARNING,
        f"The channel {channel.name} does not deliver. {outcome.fault}",
        "Open the channel, correct it and press Test; the delivery log shows what waits. Waiting messages are sent"
        " by themselves once it works.",
        f"channel:{channel.pk}",
    )
