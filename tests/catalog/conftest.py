from __future__ import annotations

from collections.abc import Iterator

import pytest

from backup_platform.fleet.models import Machine
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, make_machine, make_vault


@pytest.fixture
def vault(db, strongroom_home) -> Iterator[Vault]:
    """A vault, in its tenant's scope."""
    vault = make_vault("north", 7001)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def machine(vault: Vault) -> Machine:
    return make_machine(vault, "alpha")


@pytest.fixture
def backup(machine: Machine) -> Backup:
    return Backup(machine)
