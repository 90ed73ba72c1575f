"""The tick that tells people: looks at the rules, plans, sends what is due, and pings the outside monitor.

A delivery is claimed by one UPDATE (of two workers at once one gets it), sent while no transaction is open, and its end
written down under the claim. A worker that dies in between leaves an expired claim: the message is sent again under
the same id, because a message twice is better than none. Failures are tried again after growing pauses, for three days.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet
from django.utils import timezone

from backup_platform.notifications import forgetting, monitor, planning, watching
from backup_platform.notifications.endings import Delivered, settle
from backup_platform.notifications.messages import message_of
from backup_platform.notifications.models import UNSENT, Delivery
from backup_platform.notifications.outcomes import Outcome
from backup_platform.notifications.secret_box import SecretUnreadable
from backup_platform.notifications.sending import route_of, send_all
from backup_platform.notifications.words import DeliveryState
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope

logger = logging.getLogger(__name__)
T = TypeVar("T")

LEASE = timedelta(minutes=5)
BUDGET_SECONDS = 60.0
"""A tick begins nothing new after this long; another tick goes on."""
MAX_CHANNELS = 16
MAX_OF_A_CHANNEL = 25
THREADS = 8


def deliver_due() -> Delivered:
    """One tick. Safe twice at once, late, or never. A fault in one part does not keep the others from their work."""
    done = Delivered()
    with without_tenant_scope("messages of every tenant are sent"):
        _guarded(watching.watch_when_due)
        done.planned = _guarded(planning.plan_deliveries) or 0
        _guarded(lambda: _send_what_is_due(done))
        _guarded(monitor.ping_when_due)
        _guarded(forgetting.forget_when_due)
    return done


def _guarded(part: Callable[[], T]) -> T | None:
    try:
        return part()
    except DatabaseError:
        raise  # nothing else would work either; the next tick begins anew
    except Exception:
        logger.exception("A part of the delivery tick failed; the others go on.")
        return None


def _send_what_is_due(done: Delivered) -> None:
    until = time.monotonic() + BUDGET_SECONDS
    owner = secrets.token_hex(16)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="deliver") as threads:
        while time.monotonic() < until and (claimed := claim_due(owner)):
            names = _names_of(claimed)
            waiting = [(mine, _begin(threads, mine, names, until)) for mine in claimed]
            for mine, sent in waiting:
                settle(mine, sent.result(), done)


def _begin(
    threads: ThreadPoolExecutor, deliveries: list[Delivery], names: dict[UUID, str], until: float
) -> Future[list[Outcome | None]]:
    """Start sending a channel's deliveries. Rows are read here: a thread of the pool never touches the database."""
    messages = [message_of(delivery, names.get(_tenant_of(delivery), "")) for delivery in deliveries]  # type: ignore[arg-type]
    try:
        route = route_of(deliveries[0].channel)
    except SecretUnreadable as fault:
        ended: Future[list[Outcome | None]] = Future()
        ended.set_result([Outcome(ok=False, fault=str(fault)), *[None] * (len(messages) - 1)])
        return ended
    return threads.submit(send_all, route, messages, until)


def claim_due(owner: str) -> list[list[Delivery]]:
    """Take what is due, channel by channel, those that have waited longest first."""
    now = timezone.now()
    waiting = due(now).order_by().values("channel").annotate(since=Min("next_attempt_at")).order_by("since")
    claimed = [_claim_of_channel(row["channel"], owner, now) for row in waiting[:MAX_CHANNELS]]
    return [mine for mine in claimed if mine]


def due(now: datetime) -> QuerySet[Delivery]:
    """Deliveries to be sent now. What is told of an alert later never overtakes what was to be told before."""
    earlier = Delivery.objects.filter(
        alert=OuterRef("alert"), channel=OuterRef("channel"), pk__lt=OuterRef("pk"), state__in=UNSENT
    )
    free = Q(state=DeliveryState.QUEUED) | Q(state=DeliveryState.SENDING, lease_until__lt=now)
    return Delivery.objects.filter(
        free, ~Exists(earlier), next_attempt_at__lte=now, channel__paused_at__isnull=True
    )  # fmt: skip


def _claim_of_channel(channel_id: UUID, owner: str, now: datetime) -> list[Delivery]:
    """Count the attempt before it is made, so that a worker's death counts. Least tried first: one message that a
    receiver cannot take must not hold up the others."""
    with transaction.atomic():
        mine = due(now).filter(channel=channel_id).order_by("attempts", "pk")
        taken = list(
            mine.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:MAX_OF_A_CHANNEL]
        )
        Delivery.objects.filter(pk__in=taken).update(
            state=DeliveryState.SENDING, lease_owner=owner, lease_until=now + LEASE, attempts=F("attempts") + 1
        )
    rows = Delivery.objects.filter(pk__in=taken).select_related("alert", "channel")
    return list(rows.order_by("attempts", "pk"))


def _names_of(claimed: Sequence[list[Delivery]]) -> dict[UUID, str]:
    tenants = {tenant for mine in claimed for delivery in mine if (tenant := _tenant_of(delivery))}
    return dict(Tenant.objects.filter(pk__in=tenants).values_list("pk", "name"))


def _tenant_of(delivery: Delivery) -> UUID | None:
    """Whom it is about: the alert's tenant, which a channel of the platform does not have."""
    return delivery.alert.tenant_id if delivery.alert else delivery.tenant_id
