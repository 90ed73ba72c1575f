"""What a machine asks about its snapshots: which there are, why some are not listed; and what it says of a drill."""

from __future__ import annotations

from uuid import UUID

from backup_platform.fleet import access
from backup_platform.gateway.caller import Scope
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.restoring import NOT_FOUND, WRITE_ONLY, list_snapshots, listed_machine, read_root
from backup_platform.jobs.drills_by_hand import TooManyDrills, note_drill
from backup_platform.jobs.errors import JobRefused
from backup_platform.retention.fates import fates
from protocol.wire import limits, messages
from protocol.wire.errors import FailureCode
from protocol.wire.messages.restore import Fate

ASK_AGAIN = 3600.0
"""Seconds after which a machine may tell of more drills."""


def answer(scope: Scope, message: messages.Message) -> tuple[messages.Message, bytes]:
    """The answer to a reader, and its payload. Raises Refusal and what services raise."""
    match message:
        case messages.Root():
            return read_root(scope, message)
        case messages.List():
            return list_snapshots(scope, message), b""
        case messages.Explain():
            return explain(scope, message), b""
        case messages.Drilled():
            return note(scope, message), b""
    raise Refusal(FailureCode.UNSUPPORTED, "The gateway does not answer this message.")


def explain(scope: Scope, message: messages.Explain) -> messages.Explained:
    """What became of snapshots that are not listed, of a machine whose list the caller may have; the newest first."""
    machine = listed_machine(scope, message.machine_name)
    found = list(fates(machine.pk, message.first, message.last, limits.MAX_FATES + 1))
    told = [Fate(statement=one.statement, records=one.records) for one in found[: limits.MAX_FATES]]
    rest = found[limits.MAX_FATES].sequence if len(found) > limits.MAX_FATES else 0
    return messages.Explained(fates=told, rest=rest)


def note(scope: Scope, message: messages.Drilled) -> messages.Noted:
    """Keep how a drill by hand ended, of the caller's own snapshot. Raises Refusal, MachineRevoked."""
    caller = scope.caller
    if caller.machine_id not in scope.readable():
        raise Refusal(FailureCode.FORBIDDEN, WRITE_ONLY)
    machine = access.authenticate(caller.identity_hash)
    try:
        proven = note_drill(
            machine,
            UUID(bytes=message.drill),
            UUID(bytes=message.snapshot),
            message.outcome,
            message=message.message,
            advice=message.advice,
            counts=message.counts,
        )
    except TooManyDrills as fault:
        raise Refusal(FailureCode.RATE, str(fault), retry_after=ASK_AGAIN) from None
    except JobRefused:
        raise Refusal(FailureCode.NOT_FOUND, NOT_FOUND) from None
    except ValueError as fault:
        raise Refusal(FailureCode.INVALID, str(fault)) from None
    return messages.Noted(proven=proven)
