"""Enrolment tokens: made with a sealed blob that the platform cannot open, and forgotten when their time is over."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.tenants.access import Actor, check
from backup_platform.tenants.asking import Asker, allowed
from backup_platform.tenants.errors import QuotaUsedUp
from backup_platform.tenants.quotas import check_room_for_machine
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.vaults.models import Vault
from protocol.stored.enrollment_blobs import decode_enrollment_blob

from .errors import TermsRefused
from .models import EnrollmentToken, MachineGroup

DEFAULT_LIFE = timedelta(minutes=15)
LONGEST_LIFE = timedelta(days=30)
MAX_USES = 10_000
TOKEN_SIZE = 32


@dataclass(frozen=True)
class Terms:
    """What an enrolment allows: how many machines, how long, and what becomes of them."""

    uses: int = 1
    life: timedelta = DEFAULT_LIFE
    write_only: bool = False
    machine_name: str = ""
    group: MachineGroup | None = None
    needs_approval: bool = False

    def check(self) -> None:
        """Raise `TermsRefused` with a sentence for what is out of bounds."""
        if not 1 <= self.uses <= MAX_USES:
            raise TermsRefused(f"An enrolment may be used 1 to {MAX_USES} times, not {self.uses}.")
        if not timedelta(minutes=1) <= self.life <= LONGEST_LIFE:
            raise TermsRefused(f"An enrolment lives between a minute and {LONGEST_LIFE.days} days.")


def new_token() -> tuple[bytes, str]:
    """A fresh token, and how it is written in an enrolment string."""
    token = secrets.token_bytes(TOKEN_SIZE)
    return token, base64.urlsafe_b64encode(token).rstrip(b"=").decode("ascii")


def create_token(vault: Vault, token: bytes, blob: bytes, *, actor: Asker, **terms: Any) -> EnrollmentToken:
    """Register a token that was made together with its blob; `terms` are the fields of `Terms`."""
    return register_token(vault, hashlib.sha256(token).digest(), blob, Terms(**terms), by=actor)


def register_token(vault: Vault, token_hash: bytes, blob: bytes, terms: Terms, *, by: Asker) -> EnrollmentToken:
    """Register a token by its SHA-256: whoever made it, a browser or a command, keeps it, and the blob's key too.

    An empty blob: the enrolment key file is given on each machine instead. Raises `TermsRefused` for terms out of
    bounds and where the tenant has all the machines it may have, FormatError for a bad blob, `Forbidden`, `OutOfReach`.
    """
    actor = allowed(by, "enrollment.create")
    terms.check()
    if blob:
        decode_enrollment_blob(blob)
    if len(token_hash) != hashlib.sha256().digest_size:
        raise TermsRefused("The token's hash is not a SHA-256.")
    with tenant_scope(vault.tenant_id), transaction.atomic():
        _check_reach(vault, terms, by)
        _check_quota(vault)
        row = _insert(vault, token_hash, blob, terms, actor)
        record_audit("enrollment.created", actor=actor, object=f"enrollment:{row.pk}", tenant=vault.tenant_id,
                     uses=terms.uses, expires=row.expires_at, write_only=terms.write_only,
                     needs_approval=terms.needs_approval,
                     group=terms.group.name if terms.group else None)  # fmt: skip
    return row


def _check_reach(vault: Vault, terms: Terms, by: Asker) -> None:
    """The group is the tenant's; who is limited to groups enrols into one of theirs, or would lose sight of it."""
    if isinstance(by, Actor):
        check(by, "machines.view", vault)
        if by.is_limited and (terms.group is None or terms.group.pk not in (by.groups or ())):
            raise TermsRefused("Choose one of your machine groups: you could not see the machine otherwise.")
    if terms.group is not None and terms.group.tenant_id != vault.tenant_id:
        raise TermsRefused("The machine group belongs to another tenant.")


def _check_quota(vault: Vault) -> None:
    try:
        check_room_for_machine(vault.tenant_id)
    except QuotaUsedUp as fault:
        raise TermsRefused(str(fault)) from None


def _insert(vault: Vault, token_hash: bytes, blob: bytes, terms: Terms, actor: str) -> EnrollmentToken:
    values: dict[str, Any] = {
        "token_hash": token_hash,
        "blob": blob,
        "machine_name": terms.machine_name,
        "write_only": terms.write_only,
        "uses_left": terms.uses,
        "expires_at": timezone.now() + terms.life,
        "created_by": actor[:150],
        "group": terms.group,
        "needs_approval": terms.needs_approval,
    }
    try:
        with transaction.atomic():
            row: EnrollmentToken = EnrollmentToken.objects.create(tenant_id=vault.tenant_id, vault=vault, **values)
    except IntegrityError:
        raise TermsRefused("This enrolment was registered before. Make a new one.") from None
    return row


def withdraw_token(token_id: UUID, tenant_id: UUID, *, actor: Asker) -> bool:
    """Make a token unusable at once and empty its blob. False when it was already."""
    name = allowed(actor, "enrollment.create")
    with tenant_scope(tenant_id), transaction.atomic():
        changed = EnrollmentToken.objects.filter(pk=token_id, uses_left__gt=0).update(uses_left=0, blob=b"")
        if changed:
            record_audit("enrollment.withdrawn", actor=name, object=f"enrollment:{token_id}", tenant=tenant_id)
    return bool(changed)


def forget_expired_blobs() -> int:
    """Empty the blobs of tokens whose time is over; how many there were. For the periodic sweep."""
    with without_tenant_scope("expired blobs of every tenant are emptied"):
        expired = EnrollmentToken.objects.filter(expires_at__lte=Now()).exclude(blob=b"")
        return int(expired.update(blob=b"", uses_left=0))
