"""The rules that nobody reports: what is wrong because nothing happened. Each is one statement over all tenants."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from backup_platform.notifications.models import WatchRules
from backup_platform.notifications.services import Finding
from backup_platform.notifications.watch_sql import (
    DAMAGED_SQL,
    OVERDUE_SQL,
    SILENT_SQL,
    STALE_SQL,
    TENANT_STALE_SQL,
    WORK_FAILED_SQL,
)
from backup_platform.notifications.words import AlertKind, Level

HOURS = ("silent", "stale", "overdue")
THRESHOLDS = {
    field.name: field.default for field in WatchRules._meta.concrete_fields if field.name.partition("_")[2] in HOURS
}
MOST = 20_000
"""Findings of one rule in one sweep; beyond that the whole platform is the trouble, and one alert would do."""


def silent() -> Iterator[Finding]:
    """Machines that no gateway has heard of for longer than their class may be away."""
    for machine, tenant, name, contact, *_ in _rows(SILENT_SQL):
        yield _of_machine(
            machine, tenant, AlertKind.SILENT, Level.WARNING,
            f"{name} has not been heard of since {_time(contact)}.",
            "Is it switched on and on the network, and is the agent's service running there? Retire it if it is gone.",
        )  # fmt: skip


def stale() -> Iterator[Finding]:
    """Machines of which nothing good has arrived for too long, paused ones too: a forgotten pause is how it happens."""
    for machine, tenant, name, good, enrolled, paused in _rows(STALE_SQL):
        since = f"since {_time(good)}" if good else f"yet; it was enrolled on {_time(enrolled)}"
        why = f" It is paused since {_time(paused)}." if paused else ""
        yield _of_machine(
            machine, tenant, AlertKind.STALE, Level.ERROR, f"No backup of {name} has been verified {since}.{why}",
            "Look at its last jobs, and start one by hand: strongroom backup --wait shows what stands in the way.",
        )  # fmt: skip


def tenant_stale() -> Iterator[Finding]:
    """Tenants none of whose machines has had a good backup for too long."""
    for _machine, tenant, _name, good, enrolled, _paused in _rows(TENANT_STALE_SQL):
        since = f"since {_time(good)}" if good else f"yet; the first was enrolled on {_time(enrolled)}"
        yield Finding(
            tenant, AlertKind.TENANT_STALE, "tenant", Level.ERROR,
            f"No backup of any machine has been verified {since}.",
            "One cause is likely for all: the network to the gateway, the platform's workers, a full disk, a paused"
            " policy.", "tenant_stale",
        )  # fmt: skip


def overdue() -> Iterator[Finding]:
    """Plans whose oldest due time that nothing well ended has served is too long ago."""
    for machine, tenant, name, due_at, policy, policy_id in _rows(OVERDUE_SQL):
        yield Finding(
            tenant, AlertKind.OVERDUE, f"machine:{machine}", Level.WARNING,
            f"The backup {policy} of {name} was due at {_time(due_at)} and has not been done.",
            "Is the machine online? The list of its jobs says how the last attempts ended.",
            f"overdue:{policy_id}:{machine}", machine,
        )  # fmt: skip


def damaged() -> Iterator[Finding]:
    """Machines with damaged snapshots."""
    for machine, tenant, name, _good, count, _paused in _rows(DAMAGED_SQL):
        some = "1 snapshot" if count == 1 else f"{count:,} snapshots"
        yield _of_machine(
            machine, tenant, AlertKind.DAMAGED, Level.ERROR, f"{some} of {name} cannot be restored completely.",
            "What is damaged is asked for again at the machine's next backup: run one now. Look at the disk under the"
            " store.",
        )  # fmt: skip


def work_failed() -> Iterator[Finding]:
    """Jobs of workers (verifying, mostly) that failed for good within a day, by tenant."""
    for _machine, tenant, _name, _since, count, _paused in _rows(WORK_FAILED_SQL):
        some = "1 job" if count == 1 else f"{count:,} jobs"
        yield Finding(
            tenant, AlertKind.WORK_FAILED, "work", Level.ERROR, f"{some} of the platform failed for good within a day.",
            "Open the list of failed jobs: each says why. They are tried again once a day.", "work_failed",
        )  # fmt: skip


def _of_machine(machine: UUID, tenant: UUID, kind: AlertKind, level: Level, text: str, advice: str) -> Finding:
    return Finding(tenant, kind, f"machine:{machine}", level, text, advice, f"{kind}:{machine}", machine)


def _rows(sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"now": timezone.now(), "most": MOST, **THRESHOLDS})
        return list(cursor)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
