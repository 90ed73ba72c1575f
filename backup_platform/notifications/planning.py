"""Which deliveries an alert makes. From rows only, so that it may come late, twice, or in two workers at once.

An alert that is new, got worse or is over is *pending*; planning gives each channel that wants it a delivery, and a
unique (alert, channel, event, number) sees that nobody gets two. What is snoozed stays pending, and is told when the
snooze is over and the trouble is not. Reminders are made for channels that asked for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from backup_platform.notifications.models import Alert, Channel, Delivery, Snooze
from backup_platform.notifications.words import Event
from backup_platform.tenants.models import Member
from backup_platform.tenants.scope import without_tenant_scope

MAX_ALERTS = 500
MAX_REMINDERS = 100


def plan_deliveries() -> int:
    """Make the deliveries that are due to be made; how many alerts were looked at."""
    with without_tenant_scope("alerts of every tenant are told"):
        now = timezone.now()
        looked_at = _announce(now)
        _remind(now)
    return looked_at


def _announce(now: datetime) -> int:
    with transaction.atomic():
        pending = not_snoozed(Alert.objects.filter(pending=True), now).order_by("opened_at")
        alerts = list(pending.select_for_update(skip_locked=True, of=("self",))[:MAX_ALERTS])
        if not alerts:
            return 0
        channels = channels_of({alert.tenant_id for alert in alerts})
        made = [row for alert in alerts for channel in channels[alert.tenant_id] for row in _rows(alert, channel)]
        Delivery.objects.bulk_create(made, ignore_conflicts=True, batch_size=1000)
        told = Alert.objects.filter(pk__in=[alert.pk for alert in alerts])
        told.update(pending=False)
        told.filter(announced_level__lt=F("level")).update(announced_level=F("level"))
    return len(alerts)


def _rows(alert: Alert, channel: Channel) -> list[Delivery]:
    """What a channel is told of a pending alert: that it opened or got worse, and that it is over."""
    worst = max(alert.level, alert.announced_level)
    if worst < channel.lowest_level or (channel.kinds and alert.kind not in channel.kinds):
        return []
    if alert.subject == f"channel:{channel.pk}":
        return []  # a channel that does not deliver would not deliver this either
    events: list[tuple[str, int]] = []
    if alert.level > alert.announced_level and alert.level >= channel.lowest_level:
        events.append((Event.OPENED, alert.level))
    if alert.resolved_at and channel.tell_recovery:
        events.append((Event.RESOLVED, 0))
    return [
        Delivery(tenant_id=channel.tenant_id, alert=alert, channel=channel, event=event, number=number)
        for event, number in events
    ]


def _remind(now: datetime) -> None:
    for channel in usable_channels().filter(remind_hours__isnull=False):
        before = now - timedelta(hours=channel.remind_hours or 0)
        mine = Q(deliveries__channel=channel)
        open_ones = not_snoozed(Alert.objects.filter(resolved_at__isnull=True, acknowledged_at__isnull=True), now)
        told = open_ones.annotate(
            last=Max("deliveries__created_at", filter=mine),
            reminders=Count("deliveries", filter=mine & Q(deliveries__event=Event.REMINDER)),
        )
        due = told.filter(last__lt=before).order_by("last")[:MAX_REMINDERS]
        Delivery.objects.bulk_create(
            [
                Delivery(tenant_id=channel.tenant_id, alert_id=pk, channel=channel, event=Event.REMINDER, number=n + 1)
                for pk, n in due.values_list("pk", "reminders")
            ],
            ignore_conflicts=True,
        )


def not_snoozed(alerts: QuerySet[Alert], now: datetime) -> QuerySet[Alert]:
    """Those that no snooze of their tenant covers."""
    covering = Snooze.objects.filter(
        Q(kind="") | Q(kind=OuterRef("kind")), Q(subject="") | Q(subject=OuterRef("subject")), until__gt=now
    )
    of_platform = Q(tenant__isnull=True)
    return alerts.exclude(Exists(covering.filter(tenant=OuterRef("tenant")))).exclude(
        of_platform & Exists(covering.filter(of_platform))
    )


def usable_channels() -> QuerySet[Channel]:
    """Channels that are not paused, and whose person, if they are somebody's, may still see all alerts there.

    Somebody who left the tenant, lost the permission or was limited to some machines hears nothing more by mail.
    """
    sees_alerts = Q(custom_role__isnull=True) | Q(custom_role__permissions__contains=["notifications.view"])
    member = Member.objects.filter(sees_alerts, tenant=OuterRef("tenant"), user=OuterRef("person"), limits__isnull=True)
    staff = Q(tenant__isnull=True) & (Q(person__is_staff=True) | Q(person__is_superuser=True))
    belongs = Q(person__isnull=True) | Q(person__is_active=True) & (Exists(member) | staff)
    return Channel.objects.filter(belongs, paused_at__isnull=True)


def channels_of(tenants: Iterable[UUID | None]) -> Mapping[UUID | None, Sequence[Channel]]:
    """The channels to be told of each tenant's alerts; the platform's own of the platform's (None)."""
    wanted = set(tenants)
    known = {tenant for tenant in wanted if tenant}
    found = list(usable_channels().filter(Q(tenant__in=known) | Q(tenant__isnull=True)).order_by("created_at"))
    by_tenant: defaultdict[UUID | None, list[Channel]] = defaultdict(list)
    for tenant in wanted:
        by_tenant[tenant] = [
            channel for channel in found
            if channel.tenant_id == tenant or (channel.tenant_id is None and channel.every_tenant)
        ]  # fmt: skip
    return by_tenant
