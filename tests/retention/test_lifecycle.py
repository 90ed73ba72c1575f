"""Lifecycle records in the store: chained, numbered by the store, never overwritten, written once."""

from __future__ import annotations

import pytest
from blake3 import blake3

from backup_platform.catalog import stores
from backup_platform.retention import lifecycle
from backup_platform.retention.models import LifecycleEntry
from backup_platform.retention.queries import lifecycle_count
from backup_platform.storage.base import StoreUnavailable
from backup_platform.tenants.scope import tenant_scope
from protocol.stored.lifecycle import LifecycleEvent, decode_lifecycle


@pytest.fixture
def snapshot(ours, machine):
    snapshot = ours.snapshot(machine)
    ours.put_received(snapshot)
    return snapshot


def note(snapshot, event, **detail):
    with tenant_scope(snapshot.tenant_id):
        lifecycle.append([snapshot.pk], event, detail, tenant_id=snapshot.tenant_id)


def write(snapshot):
    with tenant_scope(snapshot.tenant_id):
        return lifecycle.write_due(snapshot.tenant_id)


def record(snapshot, number):
    return stores.local_target().get(stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, number))


@pytest.mark.defence
def test_each_record_names_the_one_before(snapshot):
    note(snapshot, LifecycleEvent.EXPIRED, because="x")
    note(snapshot, LifecycleEvent.UNDELETED, by="ada")
    assert write(snapshot) == 2
    found = [decode_lifecycle(record(snapshot, number)) for number in (1, 2, 3)]
    assert [one.event for one in found] == [1, 2, 3]
    assert [one.previous for one in found[1:]] == [blake3(record(snapshot, number)).digest() for number in (1, 2)]
    assert found[1].detail == {"because": "x"}
    with tenant_scope(snapshot.tenant_id):
        assert lifecycle_count([snapshot.pk]) == {snapshot.pk: 3}
    assert write(snapshot) == 0


def test_a_rebuilt_catalogue_goes_on_where_the_store_stands(snapshot):
    note(snapshot, LifecycleEvent.EXPIRED)
    write(snapshot)
    with tenant_scope(snapshot.tenant_id):
        LifecycleEntry.objects.all().delete()
    before = record(snapshot, 2)
    note(snapshot, LifecycleEvent.UNDELETED)
    write(snapshot)
    assert record(snapshot, 2) == before
    assert decode_lifecycle(record(snapshot, 3)).previous == blake3(before).digest()


def test_a_crash_between_store_and_row_writes_nothing_twice(snapshot):
    note(snapshot, LifecycleEvent.EXPIRED)
    write(snapshot)
    with tenant_scope(snapshot.tenant_id):
        LifecycleEntry.objects.update(number=None)
    assert write(snapshot) == 1
    with tenant_scope(snapshot.tenant_id):
        assert LifecycleEntry.objects.get().number == 2
    target = stores.local_target()
    assert not target.exists(stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, 3))


def test_a_store_that_is_away_leaves_records_due(snapshot, strongroom_home):
    note(snapshot, LifecycleEvent.EXPIRED)
    (strongroom_home / "store").rename(strongroom_home / "gone")
    with pytest.raises((StoreUnavailable, OSError)):
        write(snapshot)
    (strongroom_home / "gone").rename(strongroom_home / "store")
    assert write(snapshot) == 1
