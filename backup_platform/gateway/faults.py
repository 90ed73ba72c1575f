"""From whatever went wrong to what the agent is told: a code, one sentence, nothing about the inside."""

from __future__ import annotations

import secrets

import structlog
from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolTimeout

from backup_platform.catalog.errors import Busy, Fenced, InvalidCommit, RecordLost, RecordUnavailable
from backup_platform.fleet.errors import (
    CsrRefused,
    MachineRevoked,
    MachineUnknown,
    RecordRefused,
    TokenRefused,
)
from backup_platform.gateway.errors import PackDead, Refusal
from backup_platform.storage.base import StoreError
from backup_platform.tenants.errors import QuotaUsedUp
from backup_platform.tenants.room import RETRY_SECONDS
from protocol.stored.errors import FormatError
from protocol.wire.errors import FailureCode as Code

log = structlog.get_logger(__name__)

RETRY = 10.0
BUSY_RETRY = 5.0
"""A lease may end long before its time, when the gateway notices that its connection has gone."""

# What the service's own sentence may answer for, and whether the connection ends with it.
TOLD: tuple[tuple[type[BaseException], Code, bool], ...] = (
    (Fenced, Code.FENCED, True),
    (InvalidCommit, Code.INVALID, False),
    (FormatError, Code.INVALID, False),
    (TokenRefused, Code.TOKEN, False),
    (CsrRefused, Code.INVALID, False),
    (RecordRefused, Code.INVALID, False),
    (MachineRevoked, Code.REVOKED, True),
    (MachineUnknown, Code.AUTHENTICATION, True),
)
AWAY = (OperationalError, InterfaceError, PoolTimeout)


def refusal_for(fault: BaseException, **context: object) -> Refusal:
    """The answer to a fault. What is not expected is logged whole and told as INTERNAL with a reference."""
    if isinstance(fault, Refusal):
        return fault
    if isinstance(fault, Busy):
        return Refusal(Code.BUSY, str(fault), retry_after=min(fault.retry_after, BUSY_RETRY))
    if isinstance(fault, QuotaUsedUp):
        log.info("a quota is used up", fault=str(fault), **context)
        return Refusal(Code.TEMPORARY, str(fault), retry_after=RETRY_SECONDS)
    if isinstance(fault, PackDead):
        log.warning("the spool's disk failed", fault=repr(fault.__cause__), **context)
        return Refusal(Code.TEMPORARY, str(fault), retry_after=RETRY, final=True)
    if isinstance(fault, AWAY):
        log.warning("the database is away", fault=type(fault).__name__, **context)
        return Refusal(Code.TEMPORARY, "The server's database cannot be reached just now.", retry_after=RETRY)
    if isinstance(fault, StoreError | RecordUnavailable):
        log.warning("a store is away", fault=repr(fault), **context)
        return Refusal(Code.TEMPORARY, "The server's storage cannot be reached just now.", retry_after=RETRY)
    for kind, code, final in TOLD:
        if isinstance(fault, kind):
            return Refusal(code, str(fault), final=final)
    return _unexpected(fault, context)


def _unexpected(fault: BaseException, context: dict[str, object]) -> Refusal:
    reference = secrets.token_hex(4)
    if isinstance(fault, RecordLost):
        log.error("a record is lost", fault=str(fault), reference=reference, **context)
        return Refusal(Code.DAMAGED, f"A part of this snapshot is damaged on the server (reference {reference}).")
    log.error("unexpected fault", reference=reference, exc_info=fault, **context)
    return Refusal(Code.INTERNAL, f"The server met an unexpected fault; its log has it under {reference}.", final=True)
