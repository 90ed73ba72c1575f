"""A stage for scrubs: a machine's backup in the home directory, with copies at further targets put there by hand."""

from __future__ import annotations

from pathlib import Path

from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, Snapshot, SnapshotCopy
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault


def make_target(vault: Vault, name: str, **more: object) -> Target:
    """A directory as a target of the vault's tenant (`shared=True`: of the platform)."""
    root = stores.home() / f"target-{name}"
    LocalStore.create(root)
    tenant = None if more.pop("shared", False) else vault.tenant
    with without_tenant_scope("a target of the stage"):
        return Target.objects.create(tenant=tenant, name=name, kind=TargetKind.LOCAL, path=str(root), **more)


def root_of(target: Target | None) -> Path:
    """The directory of a target; None: the home directory."""
    return stores.home() / "store" if target is None else Path(target.path)


def copy_pack(pack: Pack, target: Target) -> Copy:
    """Copy a placed pack's file to a target, and write down that it is good there."""
    pack.refresh_from_db()
    key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    open_store(target).put(key, (root_of(None) / pack.path).read_bytes())
    return Copy.objects.create(
        tenant_id=pack.tenant_id, pack=pack, target=target, state=CopyState.GOOD, key=key, bytes=pack.bytes,
        written_at=timezone.now(),
    )  # fmt: skip


def copy_objects(snapshot: Snapshot, target: Target) -> SnapshotCopy:
    """Copy what stands beside the packs to a target."""
    home, store = stores.local_target(), open_store(target)
    for key in list(home.list()):
        if "/packs/" not in key and not store.exists(key):
            store.put(key, home.get(key))
    return SnapshotCopy.objects.create(
        tenant_id=snapshot.tenant_id, snapshot=snapshot, target=target, objects_at=timezone.now()
    )


def evict(pack: Pack) -> None:
    """Take the local file away, as tiering does once copies were read back."""
    pack.refresh_from_db()
    (root_of(None) / pack.path).unlink()
    Pack.objects.filter(pk=pack.pk).update(place=PackPlace.REMOTE, path="")


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turn one bit of a file."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ (1 << bit)]))


def file_at(pack: Pack, target: Target | None = None) -> Path:
    """Where a pack's file is at a place now."""
    pack.refresh_from_db()
    key = pack.path if target is None else Copy.objects.get(pack=pack, target=target).key
    return root_of(target) / key


def names_in_folder_of(path: Path) -> list[str]:
    """The files beside this one."""
    return sorted(one.name for one in path.parent.iterdir())
