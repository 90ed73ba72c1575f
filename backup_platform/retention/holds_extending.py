"""Extending a legal hold: its end moves further away, or goes. Whoever may set holds may do that; nothing is let go.

The hold is followed by another one, the same but for its end, in one transaction: so the store's records, which say of
a hold once that it was set and once that it was released, tell it as it was, and a rebuild has the later end. A hold
that should end earlier is followed by a person: set one with that end, then release this one, which may take two.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.scope import tenant_scope

from .defaults import delays_of
from .ending import ended
from .errors import RetentionRefused
from .holds import MANAGE, facts_of, wait_for_reclaim
from .models import Hold
from .running import ask_tenant
from .turns import take_turn

KEPT = ("tenant_id", "case", "reason", "scope", "machine_id", "policy_id", "snapshot_id", "about", "received_from",
        "received_until")  # fmt: skip
UNREADABLE = "Write the new end as YYYY-MM-DD, or YYYY-MM-DD HH:MM (UTC); leave it empty for a hold without an end."


def extend_hold(hold: Hold, until: datetime | None, *, by: Asker) -> Hold:
    """The hold that follows this one, in force until then (None: until it is released). Raises `RetentionRefused`."""
    actor = allowed(by, MANAGE, hold)
    with tenant_scope(hold.tenant_id), transaction.atomic(), ExitStack() as locks:
        wait_for_reclaim(locks, hold.tenant)
        take_turn(hold.tenant_id)
        row = Hold.objects.select_for_update(of=("self",)).get(pk=hold.pk)
        now = timezone.now()
        _check(row, until, now)
        following = Hold(**{name: getattr(row, name) for name in KEPT}, until=until, set_by=actor[:200])
        following.needs_second = row.needs_second or delays_of(row.tenant_id).release_needs_second
        following.save(force_insert=True)
        ended(row, by=actor, because=f"Extended: hold {following.pk} follows it.", now=now)
        record_audit("hold.set", actor=actor, object=f"hold:{following.pk}", tenant=row.tenant_id, extends=row.pk,
                     **facts_of(following))  # fmt: skip
        ask_tenant(row.tenant_id)
    return following


def _check(row: Hold, until: datetime | None, now: datetime) -> None:
    if row.released_at or (row.until is not None and row.until <= now):
        raise RetentionRefused("It is not in force any more: set a new one.")
    if row.asked_by:
        raise RetentionRefused("Its release is asked for. Leave it in force first, then extend it.")
    if row.until is None:
        raise RetentionRefused("It has no end, so there is nothing to extend: it is in force until it is released.")
    if until is not None and until <= row.until:
        raise RetentionRefused(
            f"Its end is {row.until:%Y-%m-%d %H:%M} UTC, and an extension ends later. To have it end earlier, set one "
            "with that end, then release this one."
        )


def read_end(text: str) -> datetime | None:
    """A new end as a person writes it, in UTC; None for an empty one. Raises `RetentionRefused`."""
    if not (said := text.strip()):
        return None
    try:
        day = parse_date(said)
        found = datetime(day.year, day.month, day.day) if day else parse_datetime(said)  # noqa: DTZ001 - set below
        if found is not None:  # in UTC at once: the last hours of the calendar lie beyond it in another zone
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise RetentionRefused(UNREADABLE)
