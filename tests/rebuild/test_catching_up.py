"""A catalogue that comes back from an older backup, or from records that cannot all be read, gives nothing away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.utils import timezone

from backup_platform.catalog.models import Pack, Snapshot
from backup_platform.jobs.models import Job, JobKind
from backup_platform.rebuilding.names import Names
from backup_platform.rebuilding.rebuild import rebuild
from backup_platform.rebuilding.source import source_at
from backup_platform.retention.models import Expiry
from backup_platform.retention.queries import reclaimable
from backup_platform.tenants.models import Tenant
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep.guards import pause_in_force
from backup_platform.upkeep.models import ReclaimPause
from tests.rebuild.stage import Aftermath, Ruins, empty_database, flip, run_jobs, states
from tests.rebuild.test_platform_backup import operator
from tests.rebuild.test_rebuild_catalog import append

__all__ = ["operator"]

pytestmark = pytest.mark.django_db(transaction=True)

EXPIRED, UNDELETED = 2, 3


@pytest.fixture
def everywhere() -> Iterator[None]:
    with without_tenant_scope("the test looks at what came back"):
        yield


def rebuilt(ruins: Ruins):
    return rebuild(source_at(ruins.store), Names(), actor="tests")


def event(ruins: Ruins, snapshot: str, number: int) -> Path:
    return next(ruins.store.rglob(f"lifecycle/{snapshot}/{number}.lifecycle"))


@pytest.mark.defence
@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_an_expiry_whose_sequel_cannot_be_read_does_not_count(ruins: Ruins, everywhere, harm: str):
    """The record after it may say that somebody brought the snapshot back."""
    snapshot = ruins.ids["alpha", 1]
    append(ruins, snapshot, EXPIRED, {"because": "the rule keeps one"})
    append(ruins, snapshot, UNDELETED, {})
    append(ruins, snapshot, 4, {"hold": "6f" * 16, "case": "A-17"})
    if harm == "gone":
        event(ruins, snapshot, 3).unlink()
    else:
        flip(event(ruins, snapshot, 3), 1)
    report = rebuilt(ruins)
    assert [fault.kind for fault in report.damage] == ["snapshot"]
    run_jobs()
    assert states() == {"verified": 3}


@pytest.mark.defence
def test_what_had_expired_can_be_brought_back_for_all_its_days_again(ruins: Ruins, everywhere):
    """While there was no platform nobody could have done it."""
    snapshot = ruins.ids["alpha", 1]
    append(ruins, snapshot, EXPIRED, {"because": "the rule keeps one"})
    rebuilt(ruins)
    run_jobs()
    Snapshot.objects.filter(pk=snapshot).update(expired_at=timezone.now() - timedelta(days=400))
    assert not reclaimable(Snapshot.objects.all()).exists()
    assert Expiry.objects.get().until > timezone.now() + timedelta(days=13)


@pytest.mark.defence
def test_a_restored_platform_reclaims_nothing_until_somebody_says_so(aftermath: Aftermath, operator: Path):
    call_command("back_up_platform")
    aftermath.world.gateway.stop()
    empty_database()
    call_command("restore_platform", "--directory", str(aftermath.store), "--key", str(operator))
    with without_tenant_scope("the test looks"):
        assert pause_in_force(Tenant.objects.get().pk)
        assert "rebuild_catalog" in ReclaimPause.objects.get(tenant=None).reason


@pytest.mark.defence
def test_what_was_brought_back_after_the_backup_is_there_again(aftermath: Aftermath, operator: Path):
    from backup_platform.retention.lifecycle import write_due
    from backup_platform.retention.services import bring_back
    from tests.upkeep.reclaim_stage import let_expire

    with without_tenant_scope("the test looks"):
        snapshot = Snapshot.objects.get(pk=aftermath.ids["alpha", 1])
    with tenant_scope(snapshot.tenant_id):
        let_expire(snapshot.pk)
    call_command("back_up_platform")
    with tenant_scope(snapshot.tenant_id):
        snapshot.refresh_from_db()
        bring_back(snapshot, by="test")
        write_due(snapshot.tenant_id)
    aftermath.world.gateway.stop()
    empty_database()
    call_command("restore_platform", "--directory", str(aftermath.store), "--key", str(operator))
    assert states() == {"verified": 2, "expired": 1}
    call_command("rebuild_catalog", "--directory", str(aftermath.store))
    run_jobs()
    assert states() == {"verified": 3}
    with without_tenant_scope("the test looks"):
        assert Expiry.objects.get().protected_until > timezone.now()


@pytest.mark.defence
def test_a_pack_that_went_after_the_backup_is_looked_at_at_once(
    aftermath: Aftermath, operator: Path, capsys: pytest.CaptureFixture[str]
):
    """Compaction moved its records into a pack that the backup does not know. Until somebody has looked, that one
    would be taken for a spare of what is gone."""
    from backup_platform.upkeep.compacting import find_work
    from backup_platform.upkeep.rewriting import rewrite
    from backup_platform.upkeep.turns import Turn
    from backup_platform.upkeep.unlinking import unlink_due
    from backup_platform.vaults.models import Vault

    call_command("back_up_platform")
    with without_tenant_scope("the test looks"):
        vault = Vault.objects.get()
    with tenant_scope(vault.tenant_id):
        old = set(Pack.objects.values_list("uid", flat=True))
        assert old
        rewrite(vault, list(Pack.objects.values_list("pk", flat=True)), Turn(), grace=timedelta(0))
        assert unlink_due(vault, Turn()).packs == len(old)
        assert not find_work(vault)
    aftermath.world.gateway.stop()
    empty_database()
    call_command("restore_platform", "--directory", str(aftermath.store), "--key", str(operator))
    with pytest.raises(SystemExit) as ended:
        call_command("rebuild_catalog", "--directory", str(aftermath.store))
    assert ended.value.code == 20
    with without_tenant_scope("the test looks"):
        assert Job.objects.filter(kind=JobKind.SCRUB, subject__startswith="pack:").count() == len(old)
    run_jobs()
    assert states() == {"verified": 3}, "the records are used from where they are now"
