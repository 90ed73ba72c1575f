"""The answer to a FETCH: records in batches, each taken from a budget of memory before it is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from backup_platform.gateway import restoring
from backup_platform.gateway.caller import Scope
from backup_platform.gateway.context import Context
from backup_platform.gateway.peer import Peer
from protocol.wire import messages

Reading = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a call on a thread that may use database and disk, in the caller's tenant scope."""


async def give_records(
    context: Context,
    peer: Peer,
    scope: Scope,
    reading: Reading,
    message: messages.Fetch,
    request: int,
    ended: Callable[[], bool],
) -> list[bytes]:
    """Send what was asked for, as far as it can be read, and FETCHED; ids that could not be read are returned.

    Between two batches `ended` is asked whether the connection or the gateway ends: then nothing more is sent. Raises
    Refusal before anything was sent.
    """
    plan: list[restoring.Batch] = await reading(
        lambda: restoring.plan_fetch(scope, message, context.blocks, context.limits.read_batch)
    )
    missing: list[bytes] = []
    for batch in plan:
        await context.sent.take(batch.bytes)
        try:
            missing += await _give_batch(peer, scope, reading, message, request, batch)
        finally:
            context.sent.give_back(batch.bytes)
        if ended():
            return missing
    peer.send(messages.Fetched(missing=b"".join(missing)), request)
    return missing


async def _give_batch(
    peer: Peer, scope: Scope, reading: Reading, message: messages.Fetch, request: int, batch: restoring.Batch
) -> list[bytes]:
    missing: list[bytes] = []
    for one in await reading(lambda: restoring.read_batch(scope.caller, message, batch)):
        if one.record is None:
            missing.append(one.id)
            continue
        record = messages.Record(kind=one.record.kind, id=one.id, digest=one.record.digest)
        peer.send(record, request, one.record.sealed)
        await peer.drained()
    return missing
