"""A snapshot's objects from many places: what was not asked has not said that it has nothing."""

from __future__ import annotations

import pytest

from backup_platform.catalog import object_reading, stores
from backup_platform.catalog.errors import ObjectLost, RecordUnavailable
from backup_platform.catalog.models import Snapshot
from tests.upkeep.scrub_stage import copy_objects, make_target, root_of


def read(snapshot: Snapshot, key: str) -> bytes:
    return object_reading.read_object(snapshot, key, lambda data: True, 2**20)


@pytest.mark.defence
def test_with_more_places_than_are_asked_nothing_is_called_lost(stored, monkeypatch):
    snapshot = stored.snapshot
    key = stores.root_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk)
    targets = [make_target(snapshot.vault, name) for name in ("first", "second")]
    for target in targets:
        copy_objects(snapshot, target)
    right = stores.local_target().get(key)
    for place in (None, targets[0]):
        (root_of(place) / key).unlink()
    assert read(snapshot, key) == right
    monkeypatch.setattr(object_reading, "MOST_PLACES", 1)
    with pytest.raises(RecordUnavailable):
        read(snapshot, key)
    (root_of(targets[1]) / key).unlink()
    monkeypatch.setattr(object_reading, "MOST_PLACES", 2)
    with pytest.raises(ObjectLost):
        read(snapshot, key)
