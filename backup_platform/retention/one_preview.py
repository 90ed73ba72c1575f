"""One preview of a tenant at a time: each reads all its snapshots and what they need, in the web's own process.

Whoever may look may ask for one, and without this could ask for hundreds at once: then the pages of all tenants wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from django.db import DatabaseError, connection

from .errors import RetentionRefused

LOCK_CLASS = 0x5354_5250
"""First half of the advisory lock's key; the second is made from the tenant's id."""


class PreviewBusy(RetentionRefused):
    """Another preview of this tenant is being made."""

    def __init__(self) -> None:
        super().__init__("Another preview of this tenant is being made just now. Try again in a moment.")


@contextmanager
def one_preview(tenant_id: UUID) -> Iterator[None]:
    """Make a preview inside. Raises `PreviewBusy` while somebody else does. The lock ends with the database session."""
    if not _lock("pg_try_advisory_lock", tenant_id):
        raise PreviewBusy
    try:
        yield
    finally:
        with suppress(DatabaseError):  # a session that is gone holds no lock
            _lock("pg_advisory_unlock", tenant_id)


def _lock(function: str, tenant_id: UUID) -> bool:
    key = int.from_bytes(tenant_id.bytes[:4], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", [LOCK_CLASS, key])
        (answer,) = cursor.fetchone()
    return bool(answer)
