"""The objects that a commit puts into the local target before the snapshot's row says that it is there.

Keys are derived from the snapshot, whose id is its statement's digest: repeating a commit finds its own objects.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.proposals import EPOCH, Proposal
from backup_platform.fleet.models import Machine
from backup_platform.storage.base import AlreadyThere, Store, StoreUnavailable
from backup_platform.vaults.models import Vault, WrappedSecret
from protocol.stored.errors import FormatError
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle
from protocol.stored.references import ReferenceList

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """What the store holds now: the time of the *received* record and the recipient records, of the first attempt."""

    at: datetime
    recipients: bytes


def publish(
    machine: Machine, vault: Vault, proposal: Proposal, counts: Mapping[str, int | float] | None = None
) -> Published:
    """Put everything that restoring needs besides packs into the local target, durably. Raises StoreError.

    `counts` are the run's figures, which nothing but the list of references keeps outside of the database.
    """
    target = stores.local_target()
    tenant, snapshot = machine.tenant_id, proposal.snapshot_id
    _put_standing_records(target, machine, vault)
    target.put_same(stores.root_key(tenant, vault.pk, snapshot), proposal.root)
    recipients = _put_first(target, stores.recipients_key(tenant, vault.pk, snapshot), proposal.recipients)
    listed = ReferenceList(snapshot.bytes, b"".join(proposal.blocks), dict(counts or {}))
    _put_first(target, stores.references_key(tenant, vault.pk, snapshot), listed.encode())
    key = stores.statement_key(tenant, vault.pk, machine.pk, proposal.statement.sequence, snapshot)
    target.put_same(key, proposal.statement_bytes)
    return Published(_put_received(target, stores.lifecycle_key(tenant, vault.pk, snapshot, 1), snapshot), recipients)


def _put_standing_records(target: Store, machine: Machine, vault: Vault) -> None:
    """Vault record, wrapped secrets and machine record: small, the same for every snapshot, put when not there."""
    tenant = machine.tenant_id
    records = {stores.vault_record_key(tenant, vault.pk, vault.record_number): bytes(vault.record)}
    for secret in WrappedSecret.objects.filter(vault=vault)[:100]:
        key = stores.secret_key(tenant, vault.pk, secret.epoch, bytes(secret.recipient_key_hash))
        records[key] = bytes(secret.data)
    if machine.record:
        records[stores.machine_record_key(tenant, vault.pk, machine.pk)] = bytes(machine.record)
    for key, data in records.items():
        if _put_first(target, key, data) != data:
            logger.error("A standing record in the target differs from the database's.", extra={"key": key})


def _put_first(target: Store, key: str, data: bytes) -> bytes:
    """Store bytes unless the key is taken; return what it holds."""
    if not target.exists(key):
        try:
            target.put(key, data)
            return data
        except AlreadyThere:
            pass
    return target.get(key)


def _put_received(target: Store, key: str, snapshot: UUID) -> datetime:
    now = timezone.now()
    record = LifecycleRecord(snapshot.bytes, LifecycleEvent.RECEIVED, (now - EPOCH) // timedelta(microseconds=1))
    held = _put_first(target, key, record.encode())
    try:
        return EPOCH + timedelta(microseconds=decode_lifecycle(held).time)
    except FormatError as fault:
        raise StoreUnavailable("The snapshot's lifecycle record in the target is damaged.") from fault
