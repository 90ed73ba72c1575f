"""Rules about the platform itself: a database that may forget, a pause of reclaim that somebody forgot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import connection
from django.utils import timezone

from backup_platform.durability import ADVICE, sentence_of, unsafe_settings
from backup_platform.notifications.services import Finding
from backup_platform.notifications.words import AlertKind, Level

DATABASE = "database"
PAUSE = "reclaim-pause"
LONG = timedelta(days=7)
"""A pause is for looking into something; after a week it is likelier to be forgotten than needed."""
MOST = 20_000
PAUSED_SQL = """
    SELECT pause.tenant_id, tenant.name, pause.by, pause.by_staff, pause.reason, pause.since
      FROM upkeep_reclaimpause pause LEFT JOIN tenants_tenant tenant ON tenant.id = pause.tenant_id
     WHERE pause.since < %(before)s ORDER BY pause.since LIMIT %(most)s
"""


def unsafe_database() -> Iterator[Finding]:
    """One finding for the platform's staff while PostgreSQL may lose what it has committed."""
    names = unsafe_settings(connection)
    if names:
        yield Finding(None, AlertKind.OTHER, DATABASE, Level.ERROR, sentence_of(names), ADVICE, DATABASE)


def forgotten_pauses() -> Iterator[Finding]:
    """Pauses of reclaim that last for more than a week: told to whoever can end them, a tenant or the platform."""
    with connection.cursor() as cursor:
        cursor.execute(PAUSED_SQL, {"before": timezone.now() - LONG, "most": MOST})
        rows = list(cursor)
    for tenant, name, by, by_staff, reason, since in rows:
        told = None if by_staff or tenant is None else tenant
        where = "everywhere" if tenant is None else f"for {name}" if told is None else "here"
        why = f": {reason.rstrip('.')}." if reason else "; nobody wrote down why."
        yield Finding(
            told, AlertKind.RECLAIM, PAUSE, Level.WARNING,
            f"Reclaim is paused {where} since {since:%Y-%m-%d}, by {by}{why}",
            "Nothing that has expired is removed meanwhile, so storage only grows. If it is not needed any more, press "
            "Resume under Storage › Reclaim.",
            f"{PAUSE}:{tenant or 'all'}",
        )  # fmt: skip
