"""Packs as the catalogue has them, for tests of what is counted."""

from __future__ import annotations

from uuid import uuid4

from backup_platform.catalog.models import Pack, PackPlace, PackState
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.vaults.models import Vault


def make_vault(name: str) -> Vault:
    with without_tenant_scope("test data"):
        tenant = Tenant.objects.create(name=name)
        return Vault.objects.create(
            id=uuid4(), number=Vault.objects.count() + 1, tenant=tenant, name="main", record=b"", record_number=1,
            signing_key_hash=bytes(32),
        )  # fmt: skip


def add_pack(vault: Vault, size: int, place: str = PackPlace.TARGET) -> Pack:
    with without_tenant_scope("test data"):
        return Pack.objects.create(
            uid=uuid4(), tenant_id=vault.tenant_id, vault=vault, spool="s", path="p", bytes=size, place=place,
            state=PackState.VERIFIED,
        )  # fmt: skip


def set_quota(tenant_id, size: int | None, machines: int | None = None) -> None:
    """As small as a test likes."""
    with without_tenant_scope("test data"):
        Tenant.objects.filter(pk=tenant_id).update(quota_bytes=size, quota_machines=machines)
