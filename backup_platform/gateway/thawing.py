"""The answer to THAW: cold storage is asked for what a restore needs. Nothing else that a gateway does asks for it."""

from __future__ import annotations

from collections.abc import Collection

from backup_platform.gateway.caller import Scope
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.handlers import split
from backup_platform.gateway.restoring import BlockCache, permitted_snapshot
from backup_platform.tiering.cold_needs import thaw_for
from protocol.wire import messages
from protocol.wire.errors import FailureCode
from protocol.wire.features import THAWING

LOOK_EVERY = 300.0
"""Seconds after which a machine may ask how far it is: thawing takes hours."""
REFUSED_RETRY = 60.0
COLD = "What is needed lies in cold storage, and has to be thawed before it can be read."
REFUSED = "Cold storage does not give what is needed, or cannot be asked just now."


def thaw(scope: Scope, message: messages.Thaw, cache: BlockCache) -> messages.Thawing:
    """Ask for what these blocks list, and say how far it is. Raises Refusal, as a FETCH of it would."""
    snapshot = permitted_snapshot(scope, message.snapshot)
    blocks = split(message.blocks)
    if not set(blocks) <= set(split(bytes(snapshot.blocks))):
        raise Refusal(FailureCode.NOT_FOUND, "Not all of these reference blocks belong to the snapshot.")
    number = scope.caller.vault_number
    found = thaw_for(snapshot, blocks, lambda name: cache.get(number, name), f"machine {scope.caller.name}")
    if found.refused and not found.more:
        raise Refusal(FailureCode.TEMPORARY, REFUSED, retry_after=REFUSED_RETRY)
    after = 0.0 if found.more else LOOK_EVERY if found.waiting else None
    return messages.Thawing(
        asked=found.asked, waiting=found.waiting, bytes=found.bytes, more=found.more, retry_after=after
    )


def cold_refusal(features: Collection[str]) -> Refusal:
    """What a machine is told of a cold record; one that cannot ask for it hears that it is not to be had now."""
    code = FailureCode.COLD if THAWING in features else FailureCode.TEMPORARY
    return Refusal(code, COLD)
