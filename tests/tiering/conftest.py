"""Machines that back up for real, and targets: local directories, or stores that fail when they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from backup_platform.catalog import pack_files
from backup_platform.catalog.models import Copy, Pack
from backup_platform.fleet.models import Machine
from backup_platform.storage.base import Store
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind
from backup_platform.targets.opening import open_store
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.tiering import copying
from backup_platform.tiering.models import TierRule
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, make_machine, make_vault
from tests.tiering.stage import run_all


@pytest.fixture
def vault(db, strongroom_home) -> Iterator[Vault]:
    vault = make_vault("north", 7301)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def machine(vault) -> Machine:
    return make_machine(vault, "alpha")


@pytest.fixture
def backup(machine) -> Backup:
    return Backup(machine)


@pytest.fixture
def data() -> list[bytes]:
    """What is backed up."""
    return contents(6, 20_000)


@pytest.fixture
def stores_of(monkeypatch) -> dict:
    """Stores by target id that stand in for what a row says; everything else is opened for real."""
    found: dict = {}

    def opened(target: Target) -> Store:
        return found[target.pk] if target.pk in found else open_store(target)

    monkeypatch.setattr(copying, "open_store", opened)
    monkeypatch.setattr(pack_files, "open_store", opened)
    return found


@pytest.fixture
def make_target(db, tmp_path, stores_of):
    """Makes local directories into targets: shared, or a tenant's."""

    def make(tenant=None, store: Store | None = None, **fields) -> Target:
        name = fields.pop("name", f"place-{uuid4().hex[:6]}")
        path = tmp_path / name
        if store is None:
            LocalStore.create(path)
        with without_tenant_scope("test data"):
            values = {"kind": TargetKind.LOCAL, "path": str(path)} | fields
            target = Target.objects.create(name=name, tenant=tenant, **values)
        if store is not None:
            stores_of[target.pk] = store
        return target

    return make


@pytest.fixture
def make_rule(db):
    """Makes rules; small packs at once unless told otherwise."""

    def make(target: Target, tenant=None, **fields) -> TierRule:
        with without_tenant_scope("test data"):
            return TierRule.objects.create(target=target, tenant=tenant, **({"at_once": True} | fields))

    return make


@pytest.fixture
def pack(backup, data) -> Pack:
    """A pack that is verified and in the home directory."""
    backup.run(data)
    run_all()
    return Pack.objects.get()


@pytest.fixture
def copy_of(vault):
    """The row of a pack's copy at a target."""

    def copy_of(pack: Pack, target: Target) -> Copy:
        return Copy.objects.select_related("target", "pack").get(pack=pack, target=target)

    return copy_of
