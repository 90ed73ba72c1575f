"""Whose data the running code may touch: one ambient value per thread of execution, absent until somebody says so.

A new thread starts without a scope, an asyncio task inherits its creator's. That is the safe way round: whoever
forgets to open a scope gets `ScopeError`, never another tenant's rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID


class ScopeError(RuntimeError):
    """Tenant data was about to be touched outside a scope, or another tenant's inside one. Always a defect."""


@dataclass(frozen=True)
class Scope:
    """One tenant's data (`tenant_id` set), or all of it (`tenant_id` None, `reason` says why)."""

    tenant_id: UUID | None
    reason: str = ""
    groups: frozenset[UUID] | None = None
    """Of what belongs to machines, only what belongs to machines of these groups; None: all of it."""


_scope: ContextVar[Scope | None] = ContextVar("strongroom_tenant_scope", default=None)


def current_scope() -> Scope:
    """The scope in force. Raises `ScopeError` when there is none."""
    scope = _scope.get()
    if scope is None:
        raise ScopeError(
            "Tenant data was used outside a tenant scope: open tenant_scope(tenant), "
            "or without_tenant_scope(reason) where work really concerns every tenant."
        )
    return scope


def has_scope() -> bool:
    """Whether any scope is in force; for the few places that must work in both cases, such as audit."""
    return _scope.get() is not None


def current_tenant_id() -> UUID | None:
    """The tenant in force; None where the scope spans all tenants. Raises `ScopeError` when there is no scope."""
    return current_scope().tenant_id


def tenant_id_of(tenant: Any) -> UUID:
    """A tenant's id from a Tenant, a UUID, its text or its 16 bytes. Raises `ScopeError` for anything else."""
    value = getattr(tenant, "pk", tenant)
    if isinstance(value, UUID):
        return value
    try:
        return UUID(bytes=value) if isinstance(value, bytes) else UUID(value)
    except (TypeError, ValueError, AttributeError):
        raise ScopeError(f"A tenant scope needs a tenant or its id, not {type(tenant).__name__}.") from None


@contextmanager
def tenant_scope(tenant: Any, groups: frozenset[UUID] | None = None) -> Iterator[UUID]:
    """Everything inside sees and changes this tenant's data only; with `groups`, only what belongs to their machines.

    A scope inside another tenant's scope is refused: code that holds one tenant's objects has no business in a
    second one. Inside `without_tenant_scope` a tenant's scope may be opened. A limit to groups holds in the scopes
    inside it too, until `whole_tenant` lifts it.
    """
    tenant_id = tenant_id_of(tenant)
    outer = _scope.get()
    if outer is not None and outer.tenant_id not in (None, tenant_id):
        raise ScopeError("A tenant's scope cannot be opened inside another tenant's scope.")
    limit = outer.groups if outer is not None and outer.groups is not None else groups
    token = _scope.set(Scope(tenant_id, groups=limit))
    try:
        yield tenant_id
    finally:
        _scope.reset(token)


@contextmanager
def whole_tenant(reason: str) -> Iterator[UUID | None]:
    """Lift a limit to machine groups, and nothing else: for rules about the whole tenant; `reason` says which."""
    if not reason.strip():
        raise ScopeError("whole_tenant needs a reason.")
    tenant_id = current_scope().tenant_id
    token = _scope.set(Scope(tenant_id, reason))
    try:
        yield tenant_id
    finally:
        _scope.reset(token)


@contextmanager
def without_tenant_scope(reason: str) -> Iterator[None]:
    """Everything inside sees every tenant's data; `reason` tells a reviewer why that is right here."""
    if not reason.strip():
        raise ScopeError("without_tenant_scope needs a reason.")
    token = _scope.set(Scope(None, reason))
    try:
        yield
    finally:
        _scope.reset(token)
