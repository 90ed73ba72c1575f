"""What happens to machines: they are enrolled, publish their record, are seen, are revoked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from backup_platform.audit.services import record as record_audit
from backup_platform.catalog.stores import local_target, machine_record_key
from backup_platform.storage.base import AlreadyThere
from backup_platform.tenants.quotas import check_room_for_machine
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from protocol.stored.errors import FormatError
from protocol.stored.machine_records import MachineRecord, decode_machine_record

from .approval import plan_again, revoke_machine  # noqa: F401 - revoking is asked for here as well
from .authority import CertificateAuthority, open_authority
from .errors import CsrRefused, RecordRefused, TokenRefused
from .models import EnrollmentToken, GroupMembership, Machine, MachineState
from .requests import EnrollmentRequest, check_request, clean_facts, wanted_name

TOKEN_SIZE = 32
PRESENCE_STEP = timedelta(seconds=15)
"""A machine's last_seen_at is written at most this often, whatever it sends."""
NAME_ATTEMPTS = 1000


@dataclass(frozen=True)
class Enrolled:
    """What a new machine gets: its row, its certificate, the authority's (both DER), the blob that it alone opens."""

    machine: Machine
    certificate: bytes
    ca: bytes
    blob: bytes


def authority() -> CertificateAuthority:
    """This installation's certificate authority, made at first use. Raises `AuthorityFault`."""

    def no_machine_yet() -> bool:
        with without_tenant_scope("any machine at all proves that an authority existed"):
            return not Machine.objects.exists()

    return open_authority(Path(settings.STRONGROOM_HOME), may_create=no_machine_yet)


def enroll_machine(token: bytes, csr: bytes, reading_key: bytes, facts: dict[str, str]) -> Enrolled:
    """Use an enrolment token once and make the machine it is for; one transaction, so a refusal costs no use.

    Called without a scope: the token says whose machine this is. Raises `TokenRefused` (same words for unknown, used
    up and expired), `CsrRefused` and `QuotaUsedUp` (only for whoever holds a good token).
    """
    token_hash = hashlib.sha256(token).digest()
    with without_tenant_scope("the enrolment token says which tenant it is for"):
        found = EnrollmentToken.objects.filter(_usable(), token_hash=token_hash).first()
    if found is None or len(token) != TOKEN_SIZE:
        raise TokenRefused
    request = check_request(csr, reading_key)
    issuer = authority()
    with tenant_scope(found.tenant_id), transaction.atomic():
        blob = _take_use(found)
        check_room_for_machine(found.tenant_id)
        machine = _add_machine(found, request, clean_facts(facts), issuer)
        _join_group(found, machine)
        record_audit(
            "machine.enrolled",
            actor=f"enrolment token of {found.created_by or 'a command'}",
            object=f"machine:{machine.pk}",
            tenant=found.tenant_id,
            name=machine.name,
            identity=request.identity_hash,
            write_only=machine.write_only,
            token=found.pk,
            state=machine.state,
            group=found.group.name if found.group else None,
        )
    return Enrolled(machine, bytes(machine.certificate), issuer.der, blob)


def _usable() -> Q:
    return Q(uses_left__gt=0, expires_at__gt=Now())


def _take_use(token: EnrollmentToken) -> bytes:
    """Take one use by a conditional UPDATE (two at once: one wins) and return the blob, emptied with the last use."""
    taken = EnrollmentToken.objects.filter(_usable(), pk=token.pk).update(uses_left=F("uses_left") - 1, used_at=Now())
    if not taken:
        raise TokenRefused
    blob = EnrollmentToken.objects.values_list("blob", flat=True).get(pk=token.pk)
    EnrollmentToken.objects.filter(pk=token.pk, uses_left=0).update(blob=b"")
    return bytes(blob)


def _add_machine(
    token: EnrollmentToken, request: EnrollmentRequest, facts: dict[str, str], issuer: CertificateAuthority
) -> Machine:
    machine_id = uuid4()
    certificate = issuer.issue_machine(str(machine_id), request.identity)
    values: dict[str, Any] = {
        "id": machine_id,
        "tenant_id": token.tenant_id,
        "vault_id": token.vault_id,
        "identity_hash": request.identity_hash,
        "identity_key": request.identity_key,
        "reading_key": request.reading_key,
        "certificate": certificate.public_bytes(Encoding.DER),
        "certificate_until": certificate.not_valid_after_utc,
        "write_only": token.write_only,
        "state": MachineState.PENDING if token.needs_approval else MachineState.ACTIVE,
        "facts": facts,
        "last_seen_at": timezone.now(),
    }
    return _insert_with_free_name(wanted_name(token.machine_name, facts), values)


def _join_group(token: EnrollmentToken, machine: Machine) -> None:
    if token.group_id is not None:
        GroupMembership.objects.create(tenant_id=machine.tenant_id, group_id=token.group_id, machine=machine)
    plan_again(machine.tenant_id, machine.pk)


def _insert_with_free_name(wanted: str, values: dict[str, Any]) -> Machine:
    """Insert under the wanted name, or with the first free suffix: db, db-2, db-3…"""
    taken = set(Machine.objects.filter(name__startswith=wanted).values_list("name", flat=True))
    for number in range(1, NAME_ATTEMPTS):
        name = wanted if number == 1 else f"{wanted}-{number}"
        if name in taken:
            continue
        try:
            with transaction.atomic():
                machine: Machine = Machine.objects.create(name=name, **values)
                return machine
        except IntegrityError as fault:
            # Another enrolment may have taken the name meanwhile; a key that is known will not become free.
            if "one_machine_name_per_tenant" not in str(fault):
                raise CsrRefused(
                    "This identity key is enrolled already; remove the agent's keys and try again."
                ) from None
    raise CsrRefused(f"Too many machines are named {wanted}; give this one a name of its own (--name).")


def publish_record(machine: Machine, record: bytes) -> None:
    """Keep the machine record that an agent made right after enrolment. Raises `RecordRefused`.

    The platform cannot check its MAC, which only the vault's agents can; it checks that the record speaks of this
    machine, its vault and its enrolled keys. A record that stands is never replaced by another one.
    """
    _check_record(machine, record)
    with tenant_scope(machine.tenant_id), transaction.atomic():
        row = Machine.objects.select_for_update().get(pk=machine.pk)
        if bytes(row.record) == record:
            return
        if row.record:
            raise RecordRefused("This machine has published another record before; a record is never replaced.")
        _store_record(machine, record)
        Machine.objects.filter(pk=machine.pk).update(record=record)
        record_audit(
            "machine.record_published",
            actor=f"machine {machine.name}",
            object=f"machine:{machine.pk}",
            tenant=machine.tenant_id,
            digest=hashlib.sha256(record).digest(),
        )
    machine.record = record


def _check_record(machine: Machine, data: bytes) -> None:
    try:
        record = decode_machine_record(data)
    except FormatError as fault:
        raise RecordRefused(f"The machine record cannot be read: {fault}.") from None
    enrolled = MachineRecord(
        vault_id=machine.vault_id.bytes,
        machine_id=machine.pk.bytes,
        epoch=record.epoch,
        write_only=machine.write_only,
        identity_key=bytes(machine.identity_key),
        reading_key=bytes(machine.reading_key),
        mac=record.mac,
        countersignature=record.countersignature,
    )
    if record != enrolled:
        raise RecordRefused("The machine record names another machine, vault or key than was enrolled.")


def _store_record(machine: Machine, record: bytes) -> None:
    try:
        local_target().put_same(machine_record_key(machine.tenant_id, machine.vault_id, machine.pk), record)
    except AlreadyThere:
        raise RecordRefused("The store holds another record of this machine; it was not changed.") from None


def touch_presence(machine_id: UUID) -> None:
    """Note that a machine is there: one cheap guarded UPDATE, at most every few seconds."""
    stale = Q(last_seen_at__isnull=True) | Q(last_seen_at__lt=timezone.now() - PRESENCE_STEP)
    with without_tenant_scope("the connection's certificate said which machine this is"):
        Machine.objects.filter(stale, pk=machine_id).update(last_seen_at=timezone.now())
