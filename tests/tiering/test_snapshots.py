"""A snapshot's objects at every target, right after the commit; and when it is whole there."""

from __future__ import annotations

import pytest

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, Pack, Snapshot, SnapshotCopy
from backup_platform.jobs.models import Job
from backup_platform.storage.memory import MemoryStore
from backup_platform.tenants.scope import without_tenant_scope
from backup_platform.tiering import ticking
from backup_platform.tiering.snapshot_objects import copy_objects
from tests.catalog.stage import contents, make_vault
from tests.tiering.stage import run_all, tick, ticks


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def target(make_target, store):
    return make_target(store=store)


def test_a_commit_sends_the_snapshots_objects_to_every_target_at_once(backup, data, target, store):
    committed = backup.run(data)
    with without_tenant_scope("test"):
        assert Job.objects.filter(kind="tier", subject=f"snapshot:{committed.snapshot}").exists()
    run_all()
    home = stores.local_target()
    there = {key: home.get(key) for key in home.list() if not key.endswith(".pack")}
    assert store.objects == there, "all that a restore needs besides packs, and nothing else by a target without rule"
    row = SnapshotCopy.objects.get()
    assert row.objects_at is not None
    assert row.lifecycle == 1
    assert row.complete_at is None


def test_a_tenant_without_targets_asks_for_nothing(backup, data, make_target):
    make_target(tenant=make_vault("south", 7305).tenant)
    backup.run(data)
    with without_tenant_scope("test"):
        assert not Job.objects.filter(kind="tier").exists()


def test_it_is_complete_once_all_its_packs_are_there(backup, data, target, make_rule):
    backup.run(data)
    run_all()
    ticking.watch()
    assert SnapshotCopy.objects.get().complete_at is None
    make_rule(target)
    ticks(lambda: Copy.objects.filter(state="good").exists(), most=5)
    ticking.watch()
    assert SnapshotCopy.objects.get().complete_at is not None
    Copy.objects.update(state="damaged")
    ticking.watch()
    assert SnapshotCopy.objects.get().complete_at is None, "what is not good any more takes that back"


def test_an_older_snapshot_is_complete_although_a_newer_pack_is_missing(backup, data, target, make_rule):
    backup.run(data)
    run_all()
    make_rule(target)
    ticks(lambda: Copy.objects.filter(state="good").exists(), most=5)
    with without_tenant_scope("test"):
        target.tier_rules.all().delete()
    backup.run(data, contents(2, 5_000))
    run_all()
    ticking.watch()
    whole = list(SnapshotCopy.objects.order_by("snapshot__sequence").values_list("complete_at", flat=True))
    assert [at is not None for at in whole] == [True, False]


def test_a_target_that_was_added_later_gets_the_objects_of_older_snapshots(backup, data, make_target):
    backup.run(data)
    run_all()
    store = MemoryStore()
    make_target(store=store)
    tick()
    assert any(key.endswith(".root") for key in store.objects)


def test_new_lifecycle_records_follow(backup, data, target, store):
    backup.run(data)
    run_all()
    snapshot = Snapshot.objects.get()
    key = stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, 2)
    stores.local_target().put(key, b"a second record")
    assert copy_objects(snapshot, target)
    assert store.objects[key] == b"a second record"
    assert SnapshotCopy.objects.get().lifecycle == 2


def test_a_root_that_is_damaged_here_is_not_spread(backup, data, make_target):
    backup.run(data)
    run_all()
    snapshot = Snapshot.objects.get()
    key = stores.root_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk)
    path = stores.home() / "store" / key
    path.chmod(0o600)
    path.write_bytes(b"rot")
    store = MemoryStore()
    make_target(store=store)
    tick()
    assert key not in store.objects


def test_other_bytes_under_a_key_are_said_and_not_overwritten(backup, data, target, store):
    committed = backup.run(data)
    snapshot = Snapshot.objects.get(pk=committed.snapshot)
    key = stores.root_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk)
    store.objects[key] = b"not this one"
    run_all()
    assert store.objects[key] == b"not this one"
    assert "overwritten" in SnapshotCopy.objects.get().fault
    assert Pack.objects.exists()
