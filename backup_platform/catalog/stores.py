"""Where things are in a target: the keys of DESIGN's layout, and the local target itself."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from django.conf import settings

from backup_platform.catalog.models import Pack, PackPlace, Snapshot
from backup_platform.storage.base import Store
from backup_platform.storage.local import LocalStore, NotAStore
from backup_platform.tenants.scope import without_tenant_scope


def local_target() -> Store:
    """The target on this host. Made at first use; afterwards a directory without its mark is *away*, not empty."""
    root = home() / "store"
    try:
        return LocalStore(root)
    except NotAStore:
        with without_tenant_scope("the target is everybody's"):
            if Pack.objects.filter(place=PackPlace.TARGET).exists() or Snapshot.objects.exists():
                return LocalStore(root)  # roots lie there from the first commit on: it is away, or was just made
        return LocalStore.create(root)


def home() -> Path:
    """The directory of this instance."""
    return Path(settings.STRONGROOM_HOME)


def spool_path(path: str) -> Path:
    """The file of a pack that is in a spool, by its row's `path`."""
    return home() / "spool" / path


def pack_key(tenant_id: UUID, vault_id: UUID, uid: UUID) -> str:
    """The key of a pack."""
    return f"{tenant_id.hex}/{vault_id.hex}/packs/{uid.hex[:2]}/{uid.hex}.pack"


def root_key(tenant_id: UUID, vault_id: UUID, snapshot_id: UUID) -> str:
    """The key of a snapshot's root."""
    return f"{tenant_id.hex}/{vault_id.hex}/roots/{snapshot_id.hex}.root"


def recipients_key(tenant_id: UUID, vault_id: UUID, snapshot_id: UUID) -> str:
    """The key of a root's recipient records, joined."""
    return f"{tenant_id.hex}/{vault_id.hex}/roots/{snapshot_id.hex}.recipients"


def references_key(tenant_id: UUID, vault_id: UUID, snapshot_id: UUID) -> str:
    """The key of the list of a snapshot's reference blocks: by it a catalogue can be made again without any key."""
    return f"{tenant_id.hex}/{vault_id.hex}/roots/{snapshot_id.hex}.references"


def statement_key(tenant_id: UUID, vault_id: UUID, machine_id: UUID, sequence: int, snapshot_id: UUID) -> str:
    """The key of a statement; the sequence number in 20 digits keeps a machine's chain in order."""
    return f"{tenant_id.hex}/{vault_id.hex}/statements/{machine_id.hex}/{sequence:020}-{snapshot_id.hex}.statement"


def vault_record_key(tenant_id: UUID, vault_id: UUID, number: int) -> str:
    """The key of a vault record."""
    return f"{tenant_id.hex}/{vault_id.hex}/vault-records/{number}.record"


def machine_record_key(tenant_id: UUID, vault_id: UUID, machine_id: UUID) -> str:
    """The key of a machine record."""
    return f"{tenant_id.hex}/{vault_id.hex}/machines/{machine_id.hex}.record"


def secret_key(tenant_id: UUID, vault_id: UUID, epoch: int, recipient_key_hash: bytes) -> str:
    """The key of a wrapped dedup secret."""
    return f"{tenant_id.hex}/{vault_id.hex}/secrets/{epoch}-{recipient_key_hash.hex()[:16]}.secret"


def lifecycle_key(tenant_id: UUID, vault_id: UUID, snapshot_id: UUID, number: int) -> str:
    """The key of a snapshot's n-th lifecycle record, from 1."""
    return f"{tenant_id.hex}/{vault_id.hex}/lifecycle/{snapshot_id.hex}/{number}.lifecycle"
