"""One at a time in a tenant: whoever decides what expires, or what may not, waits for the other."""

from __future__ import annotations

from uuid import UUID
from zlib import crc32

from django.db import connection

LOCK_CLASS = 0x5354_5245
"""First half of the advisory lock's key; jobs.ticks and policies.plan_rows have others."""


def take_turn(tenant_id: UUID) -> None:
    """Wait for the tenant's lock, which the transaction in force then holds until it ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, crc32(tenant_id.bytes) - 2**31])
