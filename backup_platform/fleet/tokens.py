"""Enrolment tokens: made with a sealed blob that the platform cannot open, and forgotten when their time is over."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault
from protocol.stored.enrollment_blobs import decode_enrollment_blob

from .models import EnrollmentToken

DEFAULT_LIFE = timedelta(minutes=15)
LONGEST_LIFE = timedelta(days=30)
MAX_USES = 10_000


def create_token(
    vault: Vault,
    token: bytes,
    blob: bytes,
    *,
    uses: int = 1,
    life: timedelta = DEFAULT_LIFE,
    write_only: bool = False,
    machine_name: str = "",
    actor: str,
) -> EnrollmentToken:
    """Register a token that was made together with its blob; only the token's SHA-256 is kept.

    Raises ValueError with a sentence for a number of uses or a life out of bounds, FormatError for a bad blob.
    """
    if not 1 <= uses <= MAX_USES:
        raise ValueError(f"An enrolment may be used 1 to {MAX_USES} times, not {uses}.")
    if not timedelta(minutes=1) <= life <= LONGEST_LIFE:
        raise ValueError(f"An enrolment lives between a minute and {LONGEST_LIFE.days} days.")
    decode_enrollment_blob(blob)
    with tenant_scope(vault.tenant_id), transaction.atomic():
        row: EnrollmentToken = _insert(vault, token, blob, uses, timezone.now() + life, write_only, machine_name, actor)
        record_audit(
            "enrollment.created",
            actor=actor,
            object=f"enrollment:{row.pk}",
            tenant=vault.tenant_id,
            uses=uses,
            expires=row.expires_at,
            write_only=write_only,
        )
    return row


def _insert(
    vault: Vault, token: bytes, blob: bytes, uses: int, until: datetime, write_only: bool, name: str, actor: str
) -> Any:
    return EnrollmentToken.objects.create(
        tenant_id=vault.tenant_id,
        vault=vault,
        token_hash=hashlib.sha256(token).digest(),
        blob=blob,
        machine_name=name,
        write_only=write_only,
        uses_left=uses,
        expires_at=until,
        created_by=actor[:150],
    )


def withdraw_token(token_id: UUID, tenant_id: UUID, *, actor: str) -> bool:
    """Make a token unusable at once and empty its blob. False when it was already."""
    with tenant_scope(tenant_id), transaction.atomic():
        changed = EnrollmentToken.objects.filter(pk=token_id, uses_left__gt=0).update(uses_left=0, blob=b"")
        if changed:
            record_audit("enrollment.withdrawn", actor=actor, object=f"enrollment:{token_id}", tenant=tenant_id)
    return bool(changed)


def forget_expired_blobs() -> int:
    """Empty the blobs of tokens whose time is over; how many there were. For the periodic sweep."""
    with without_tenant_scope("expired blobs of every tenant are emptied"):
        expired = EnrollmentToken.objects.filter(expires_at__lte=Now()).exclude(blob=b"")
        return int(expired.update(blob=b"", uses_left=0))
