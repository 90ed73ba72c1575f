"""What is changed beside the database, in small files of the home, by one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

LOCK_CLASS, LOCK_KEY = 0x5354_5042, 1
"""The advisory lock of the platform's signing key and of the numbers of its backups."""


@contextmanager
def alone() -> Iterator[None]:
    """A transaction under the lock: the audit's lines of what is done in it stand if the transaction does.

    The database keeps the lock, since a home may lie on a share where locks of files are not to be relied on.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, LOCK_KEY])
        yield
