"""Waking the gateways: a word on a channel that a machine has something to do. It may be lost; gateways also poll."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from functools import cache
from uuid import UUID

import redis
from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

CHANNEL = "strongroom:wake"
ANSWER_SECONDS = 0.5
"""Whoever makes a job must not wait for Valkey: what is not said within this is left to the gateways' polling."""
PAUSE_SECONDS = 5
"""After a failure nothing is said for this long."""
MOST_NAMED = 200
"""For more machines at once a word to everybody costs less than their names; gateways look for all of theirs then."""
EVERYBODY = "*"

_gate = threading.Lock()
_closed_until = 0.0


def wake(machine_id: UUID) -> None:
    """Tell the gateways, once the transaction in force is committed, that this machine has something to do.

    Never raises, never waits long.
    """
    wake_all([machine_id])


def wake_all(machine_ids: Iterable[UUID]) -> None:
    """As `wake`, for many machines in one round trip."""
    names = [machine_id.hex for machine_id in machine_ids]
    if names:
        transaction.on_commit(lambda: _publish(names), robust=True)


def _publish(names: list[str]) -> None:
    global _closed_until  # noqa: PLW0603 (one gate per process is the point)
    if time.monotonic() < _closed_until:
        return
    try:
        with _client(settings.REDIS_URL).pipeline(transaction=False) as pipe:
            for name in names if len(names) <= MOST_NAMED else [EVERYBODY]:
                pipe.publish(CHANNEL, name)
            pipe.execute()
    except (redis.RedisError, OSError, ValueError) as fault:
        with _gate:
            _closed_until = time.monotonic() + PAUSE_SECONDS
        logger.warning("Gateways were not woken; they look for themselves soon. (%s)", type(fault).__name__)


@cache
def _client(address: str) -> redis.Redis:
    """A client without patience: no retries, short time-outs."""
    return redis.Redis.from_url(
        address,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=None,
        health_check_interval=0,
    )
