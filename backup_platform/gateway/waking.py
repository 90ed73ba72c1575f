"""Hearing that a machine has something to do: Redis pub/sub, reconnecting for ever.

A word may be lost and costs nothing then: the control desk also looks for itself every few seconds. So nothing here may
block the event loop, raise, or end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import redis.asyncio
import structlog
from redis.asyncio.client import PubSub

from backup_platform.jobs.waking import EVERYBODY

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
"""How long connecting and subscribing may take."""
LISTEN_SECONDS = 20.0
"""After so much silence the connection is asked whether it is still there."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


async def listen(address: str, channel: str, heard: Callable[[UUID], None], everybody: Callable[[], None]) -> None:
    """Call `heard` for each machine that is named on `channel`, and `everybody` when all are meant and after each
    (re)connection: words may have been lost before it. Runs until cancelled."""
    pause, away = FIRST_PAUSE, False
    while True:
        try:
            async with _client(address) as client, client.pubsub() as words:
                await words.subscribe(channel)
                everybody()
                if away:
                    log.info("Valkey is back; wake-ups are heard again")
                pause, away = FIRST_PAUSE, False
                await _hear(words, heard, everybody)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the desk looks for itself and we try again
            if not away:
                log.warning("Valkey is away; work is found by looking for it", fault=type(fault).__name__)
            away = True
        if (me := asyncio.current_task()) is not None and me.cancelling():
            raise asyncio.CancelledError  # to close the connection failed, and that fault took the place of our end
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _client(address: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(address, socket_connect_timeout=ANSWER_SECONDS, retry=None)


async def _hear(words: PubSub, heard: Callable[[UUID], None], everybody: Callable[[], None]) -> None:
    while True:
        word = await words.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
        if word is None:
            await asyncio.wait_for(words.ping(), ANSWER_SECONDS)
            continue
        if word.get("data") == EVERYBODY.encode():
            everybody()
            continue
        machine = _machine_named(word.get("data"))
        if machine is not None:
            heard(machine)


def _machine_named(data: object) -> UUID | None:
    """The machine in a message; None for a pong and for whatever else somebody may say on the channel."""
    if not isinstance(data, bytes) or len(data) != 32:
        return None
    try:
        return UUID(data.decode("ascii"))
    except ValueError:
        return None
