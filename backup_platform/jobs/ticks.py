"""Ticks that must not run twice at once: two beats, or a beat that sends a tick before the last one is through."""

from __future__ import annotations

import logging
from collections.abc import Callable
from zlib import crc32

from django.db import connection

logger = logging.getLogger(__name__)

LOCK_CLASS = 0x5354_5449
"""First half of the advisory lock's key; the second is made from the tick's name."""


def run_alone(name: str, work: Callable[[], object]) -> bool:
    """Do `work` unless the same tick is at work somewhere; False when it is: it does what is due.

    The lock belongs to this database session and ends with it, so a tick that dies blocks nobody.
    """
    if not _lock("pg_try_advisory_lock", name):
        logger.info("A tick is still at work; this one has nothing to do.", extra={"tick": name})
        return False
    try:
        work()
    finally:
        if connection.connection is not None and not connection.connection.closed:
            _lock("pg_advisory_unlock", name)
    return True


def _lock(function: str, name: str) -> bool:
    key = crc32(name.encode()) - 2**31
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s, %s)", [LOCK_CLASS, key])
        (answer,) = cursor.fetchone()
    return bool(answer)
