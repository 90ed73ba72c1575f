"""Fixtures of the scrub tests; a test module imports those that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, make_machine, make_vault, run_jobs


@dataclass
class Stored:
    """One verified snapshot and its one pack, in the home directory."""

    vault: Vault
    backup: Backup
    data: list[bytes]
    snapshot: Snapshot = field(init=False)
    pack: Pack = field(init=False)

    def __post_init__(self) -> None:
        committed = self.backup.run(self.data)
        run_jobs()
        self.snapshot = Snapshot.objects.select_related("vault").get(pk=committed.snapshot)
        self.pack = Pack.objects.select_related("vault").get()
        assert (self.snapshot.state, self.pack.place) == ("verified", "target")

    def states(self) -> tuple[str, str]:
        """The snapshot's and the pack's state now."""
        self.snapshot.refresh_from_db()
        self.pack.refresh_from_db()
        return self.snapshot.state, self.pack.state


@pytest.fixture
def scrub_vault_row(db, strongroom_home) -> Iterator[Vault]:
    vault = make_vault("north", 7101)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def stored(scrub_vault_row: Vault) -> Stored:
    machine = make_machine(scrub_vault_row, "alpha")
    return Stored(scrub_vault_row, Backup(machine), contents(6, 5000))
