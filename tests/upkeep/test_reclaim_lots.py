"""Packs and roots go in lots: what holds for one holds for each of many, and one that cannot go holds back no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone

from backup_platform.audit.models import Entry
from backup_platform.catalog import stores
from backup_platform.catalog.leases import pack_lease, pack_leases
from backup_platform.catalog.models import Pack, PackPlace, Snapshot
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep import unlinking
from backup_platform.upkeep.errors import TurnOver
from backup_platform.upkeep.turns import Turn
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, make_machine, make_vault
from tests.upkeep.reclaim_stage import files, let_expire, live_packs, read_back, run_jobs, run_round

PACKS = 5


@pytest.fixture
def vault(db, strongroom_home) -> Iterator[Vault]:
    vault = make_vault("north", 7109)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def leaving(vault: Vault) -> list[Pack]:
    """Packs that a round has just found empty; nothing but their hour of grace keeps their files."""
    backup = Backup(make_machine(vault, "alpha"))
    old = [backup.run(contents(2)) for _ in range(PACKS)]
    backup.run(contents(2))
    run_jobs()
    let_expire(*old)
    run_round(vault, grace=timedelta(hours=1))
    Pack.objects.filter(unlink_at__isnull=False).update(unlink_at=timezone.now() - timedelta(seconds=1))
    found = list(Pack.objects.filter(unlink_at__isnull=False).order_by("pk"))
    assert len(found) == PACKS
    return found


def go(vault: Vault) -> unlinking.Unlinked:
    return unlinking.unlink_due(vault, Turn())


def break_deletion_of(monkeypatch, *keys: str) -> None:
    """A disk that cannot remove certain names."""
    real = LocalStore.delete_all

    def delete_all(store, names):
        names = list(names)
        if set(keys) & set(names):
            raise StoreUnavailable("input/output error")
        real(store, names)

    monkeypatch.setattr(LocalStore, "delete_all", delete_all)


@pytest.mark.parametrize("lot", [2, 100])
def test_packs_go_in_lots_and_the_audit_names_each(vault, leaving, monkeypatch, lot):
    monkeypatch.setattr(unlinking, "LOT", lot)
    done = go(vault)
    assert (done.packs, done.bytes, done.waits_for) == (PACKS, sum(pack.bytes for pack in leaving), [])
    assert len(files(vault)) == 1
    rows = Pack.objects.filter(pk__in=[pack.pk for pack in leaving]).values_list("place", "unlink_at", "lease_owner")
    assert set(rows) == {(PackPlace.GONE, None, "")}
    with without_tenant_scope("test"):
        lines = Entry.objects.filter(verb="packs.removed")
        assert {uid for line in lines for uid in line.detail["packs"]} == {pack.uid.hex for pack in leaving}
        assert sum(line.detail["bytes"] for line in lines) == done.bytes


def test_a_pack_that_is_named_again_within_its_grace_stays_and_the_others_go(vault, leaving):
    (kept,) = set(live_packs(vault)) - set(leaving)
    named = leaving[1]
    move_records(kept, named)
    assert go(vault).packs == PACKS - 1
    named.refresh_from_db()
    assert (named.place, named.unlink_at) == (PackPlace.TARGET, None)
    assert stores.local_target().exists(named.path)


def move_records(source: Pack, target: Pack) -> None:
    """The index says that the records of one pack are in another."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE catalog_chunk SET pack = %s WHERE pack = %s", [target.pk, source.pk])


def test_a_pack_that_somebody_works_on_is_left_for_later_and_the_others_go(vault, leaving):
    with pack_lease(leaving[2].pk):
        done = go(vault)
        assert (done.packs, len(done.waits_for)) == (PACKS - 1, 1)
        assert stores.local_target().exists(leaving[2].path)
    assert go(vault).packs == 1


def test_leases_of_many_are_given_back_also_after_a_fault(leaving):
    ids = [pack.pk for pack in leaving]
    with pytest.raises(TurnOver):
        take_and_fail(ids)
    with pack_leases(ids) as held:
        assert len(held) == PACKS


def take_and_fail(ids: list[int]) -> None:
    with pack_leases(ids) as held:
        assert [pack.pk for pack in held] == ids
        with pack_leases(ids) as second:
            assert second == []
        raise TurnOver


def test_a_file_that_cannot_be_removed_holds_back_no_other(vault, leaving, monkeypatch):
    bad = leaving[0]
    break_deletion_of(monkeypatch, bad.path)
    done = go(vault)
    assert (done.packs, len(done.waits_for)) == (PACKS - 1, 1)
    assert "home directory" in done.waits_for[0]
    bad.refresh_from_db()
    assert bad.place == PackPlace.GONE  # nobody reads it any more, and it is tried again
    assert bad.unlink_at is not None
    monkeypatch.undo()
    assert go(vault).packs == 1
    assert len(files(vault)) == 1


def test_a_crash_between_the_rows_and_the_files_is_gone_on_with(vault, leaving, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(unlinking, "_delete_files", die)
    with pytest.raises(KeyboardInterrupt):
        go(vault)
    monkeypatch.undo()
    assert len(files(vault)) == PACKS + 1
    assert go(vault).packs == PACKS
    assert len(files(vault)) == 1


def test_a_root_that_cannot_be_removed_holds_back_no_other(vault, monkeypatch):
    backup = Backup(make_machine(vault, "alpha"))
    old, kept = [backup.run(contents(2)) for _ in range(3)], contents(2)
    backup.run(kept)
    run_jobs()
    let_expire(*old)
    bad = stores.root_key(vault.tenant_id, vault.pk, old[0].snapshot)
    break_deletion_of(monkeypatch, bad)
    assert run_round(vault).roots == 2
    assert list(Snapshot.objects.filter(state="reclaimed", objects_gone_at=None).values_list("pk", flat=True)) == [
        old[0].snapshot
    ]
    assert stores.local_target().exists(bad)
    monkeypatch.undo()
    assert run_round(vault, begin=False).roots == 1
    assert not stores.local_target().exists(bad)
    read_back(vault, kept)
