"""Writing the audit. One function, because an audit with several ways in has gaps."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from backup_platform.tenants.scope import ScopeError, current_tenant_id, has_scope, without_tenant_scope

from .chain import FIRST_PREVIOUS, chain_lock_key, clean_detail, clean_text, entry_digest
from .models import Entry
from .queries import chain_of

LOCK_CLASS = 0x5354_4155
"""First half of the advisory lock's key, so that a chain's lock is not some other lock of ours."""


def record(verb: str, *, actor: str, object: str = "", tenant: Any = None, **detail: Any) -> Entry:  # noqa: A002
    """Append a line to a tenant's chain, or to the platform's own with `tenant=None`, and return it.

    Call it inside the transaction that does what it reports: the line then stands if and only if the deed does.
    The chain is locked until that transaction ends, so call it late. `detail` must hold no secrets; values are kept
    as JSON (UUIDs and times as text, bytes as hex). Raises `ScopeError` for another tenant than the scope's.
    """
    tenant_id = getattr(tenant, "pk", tenant)
    if has_scope() and current_tenant_id() not in (None, tenant_id) and tenant_id is not None:
        raise ScopeError("An audit line cannot be written for another tenant than the scope's.")
    with transaction.atomic(), without_tenant_scope("an audit chain is read and extended"):
        return _append(tenant_id, verb, clean_text(actor, 200), clean_text(object, 200), clean_detail(detail))


def _append(tenant_id: UUID | None, verb: str, actor: str, subject: str, detail: dict[str, Any]) -> Entry:
    _lock_chain(tenant_id)
    newest = chain_of(tenant_id).order_by("-id").values_list("digest", flat=True).first()
    entry = Entry(
        tenant_id=tenant_id,
        at=timezone.now(),
        actor=actor,
        verb=verb,
        object=subject,
        detail=detail,
        previous=FIRST_PREVIOUS if newest is None else bytes(newest),
    )
    entry.digest = entry_digest(entry)
    entry.save(force_insert=True)
    return entry


def _lock_chain(tenant_id: UUID | None) -> None:
    """One writer a chain until its transaction ends: else two lines could follow the same line."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_CLASS, chain_lock_key(tenant_id)])
