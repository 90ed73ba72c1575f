"""What was in two places before a compaction is in two places after it, however many compactions follow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backup_platform.catalog.models import Copy, CopyState, Pack
from backup_platform.tenants.scope import tenant_scope
from backup_platform.upkeep.rewriting import rewrite
from backup_platform.upkeep.turns import Turn
from backup_platform.upkeep.unlinking import unlink_due
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, make_machine, make_vault
from tests.upkeep.reclaim_stage import NO_GRACE, run_jobs
from tests.upkeep.scrub_stage import copy_pack, make_target


@pytest.fixture
def vault(db, strongroom_home) -> Iterator[Vault]:
    vault = make_vault("north", 7109)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def pack(vault: Vault) -> Pack:
    Backup(make_machine(vault, "alpha")).run(contents(3, 5_000))
    run_jobs()
    return Pack.objects.get()


def compacted(vault: Vault, pack: Pack) -> Pack:
    return rewrite(vault, [pack.pk], Turn(), grace=NO_GRACE)


@pytest.mark.defence
def test_a_pack_that_was_compacted_twice_keeps_its_copy_until_the_last_one_has_its_own(vault, pack):
    cloud = make_target(vault, "cloud")
    copy = copy_pack(pack, cloud)
    newest = compacted(vault, compacted(vault, pack))
    assert unlink_due(vault, Turn()).waits_for
    copy.refresh_from_db()
    assert copy.state == CopyState.GOOD, "the records are nowhere else but on this host's disk"
    Copy.objects.filter(pack=newest).delete()
    copy_pack(newest, cloud)
    unlink_due(vault, Turn())
    copy.refresh_from_db()
    assert copy.state == CopyState.GONE


@pytest.mark.defence
def test_a_copy_at_a_paused_target_waits_for_its_successors(vault, pack):
    copy = copy_pack(pack, make_target(vault, "cloud", state="paused"))
    compacted(vault, pack)
    assert unlink_due(vault, Turn()).waits_for
    copy.refresh_from_db()
    assert copy.state == CopyState.GOOD
