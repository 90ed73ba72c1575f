"""Lifecycle records are written many at a time, and each is still a record of its own."""

from __future__ import annotations

import threading

import pytest
from blake3 import blake3
from django.db import connection, transaction

from backup_platform.catalog import stores
from backup_platform.catalog.models import Snapshot
from backup_platform.retention import lifecycle
from backup_platform.retention.models import LifecycleEntry
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.lifecycle import LifecycleEvent, decode_lifecycle

COUNT = 7


@pytest.fixture
def snapshots(ours, machine):
    made = ours.snapshots(machine, COUNT)
    ours.put_received(*made)
    return made


def note(snapshots, event):
    tenant_id = snapshots[0].tenant_id
    with tenant_scope(tenant_id):
        lifecycle.append([one.pk for one in snapshots], event, {}, tenant_id=tenant_id)


def write(snapshots):
    with tenant_scope(snapshots[0].tenant_id):
        return lifecycle.write_due(snapshots[0].tenant_id)


def record(snapshot, number):
    return stores.local_target().get(stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, number))


def unwritten(snapshots):
    with tenant_scope(snapshots[0].tenant_id):
        return set(LifecycleEntry.objects.filter(number=None).values_list("snapshot_id", flat=True))


@pytest.mark.parametrize("lot", [3, 64])
def test_each_of_many_gets_its_records_in_the_order_of_events(snapshots, monkeypatch, lot):
    monkeypatch.setattr(lifecycle, "LOT", lot)
    note(snapshots, LifecycleEvent.EXPIRED)
    note(snapshots, LifecycleEvent.UNDELETED)
    assert write(snapshots) == 2 * COUNT
    for one in snapshots:
        found = [decode_lifecycle(record(one, number)) for number in (1, 2, 3)]
        assert [entry.event for entry in found] == [1, LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED]
        assert found[2].previous == blake3(record(one, 2)).digest()
    assert write(snapshots) == 0


def test_one_that_cannot_be_put_holds_back_no_other(snapshots, monkeypatch):
    note(snapshots, LifecycleEvent.EXPIRED)
    bad, real = snapshots[2], LocalStore.put

    def put(store, key, data, **more):
        if bad.pk.hex in key:
            raise StoreUnavailable("input/output error")
        real(store, key, data, **more)

    monkeypatch.setattr(LocalStore, "put", put)
    with pytest.raises(StoreUnavailable):
        write(snapshots)
    assert unwritten(snapshots) == {bad.pk}
    monkeypatch.undo()
    assert write(snapshots) == 1


def test_what_a_crash_left_in_the_store_is_found_again(snapshots, monkeypatch):
    note(snapshots, LifecycleEvent.EXPIRED)
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, "targets_for_objects", lambda _: 1 / 0)  # after the store, before the rows
        with pytest.raises(ZeroDivisionError):
            write(snapshots)
    assert len(unwritten(snapshots)) == COUNT
    assert write(snapshots) == COUNT
    assert not any(stores.local_target().exists(stores.lifecycle_key(one.tenant_id, one.vault_id, one.pk, 3))
                   for one in snapshots)  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_one_that_somebody_has_locked_is_waited_for(transactional_db, ours, machine):
    made = ours.snapshots(machine, 3)
    ours.put_received(*made)
    note(made, LifecycleEvent.EXPIRED)
    locked, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with tenant_scope(made[0].tenant_id), transaction.atomic():
                Snapshot.objects.select_for_update().get(pk=made[1].pk)
                locked.set()
                let_go.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(60)
    try:
        timer = threading.Timer(0.3, let_go.set)
        timer.start()
        assert write(made) == 3
    finally:
        let_go.set()
        thread.join()
    assert unwritten(made) == set()
