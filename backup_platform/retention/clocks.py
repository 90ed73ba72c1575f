"""A clock that leaps decides nothing for a day: not what expires, which hold has ended, or what cannot be brought back.

Retention counts days, so a server whose clock is suddenly a year ahead (a flat battery, a wrong time server, a restored
virtual machine) would end in one night what was promised for a year. Nobody can tell such a leap from a platform that
was off. So after either one expiry rests, people are told, and whoever finds the clock wrong has a day to set it right:
going back is a leap too, and nothing was done by the wrong time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.notifications.services import raise_alert, resolve_alert
from backup_platform.notifications.words import AlertKind, Level
from backup_platform.tenants.scope import without_tenant_scope

from .models import ClockWatch

AHEAD = timedelta(days=3)
"""Ticks come every few minutes; with so much time between two of them the platform was off, or the clock leapt."""
BACK = timedelta(hours=1)
"""Clocks of workers differ a little, and are set back a little."""
REST = timedelta(hours=24)
KEY = "clock-leapt"


def watch_clock(now: datetime) -> None:
    """Note what the clock says; begin a rest when it has leapt, end one that is over. Every tick calls it."""
    with without_tenant_scope("the clock is everybody's"), transaction.atomic():
        row, _ = ClockWatch.objects.select_for_update().get_or_create(pk=1, defaults={"seen_at": now})
        if _has_leapt(row, now):
            _begin_rest(row, now)
        elif row.rests_until is not None and row.rests_until <= now:
            row.rests_until = None
            resolve_alert(None, KEY, "Expiry goes on.")
        row.seen_at = now
        row.save()


def rest_in_force(now: datetime | None = None) -> str:
    """Why nothing may expire just now; "" when it may. Sees a leap before the tick does."""
    moment = now or timezone.now()
    row = ClockWatch.objects.filter(pk=1).first()
    if row is None:
        return ""
    if _has_leapt(row, moment):
        return f"The server's clock has leapt from {row.seen_at:%Y-%m-%d %H:%M} to {moment:%Y-%m-%d %H:%M} UTC."
    if row.rests_until is not None and moment < row.rests_until:
        return f"The server's clock leapt, so expiry rests until {row.rests_until:%Y-%m-%d %H:%M} UTC."
    return ""


def _has_leapt(row: ClockWatch, now: datetime) -> bool:
    return not -BACK <= now - row.seen_at <= AHEAD


def _begin_rest(row: ClockWatch, now: datetime) -> None:
    before, row.rests_until = row.seen_at, now + REST
    record_audit("clock.leapt", actor="retention", object="clock", tenant=None, before=before, now=now,
                 rests_until=row.rests_until)  # fmt: skip
    raise_alert(
        None, AlertKind.EXPIRY, "clock", Level.ERROR,
        f"The server's clock went from {before:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M} UTC between two looks. Nothing "
        f"expires and nothing is reclaimed for good until {row.rests_until:%Y-%m-%d %H:%M} UTC.",
        "If the platform was off for so long, nothing needs to be done. If the clock is wrong, set it right now.",
        KEY,
    )  # fmt: skip
