"""What stands beside the packs is read everywhere, and healed from the catalogue's row or another target's copy."""

from __future__ import annotations

import pytest

from backup_platform.catalog import stores
from backup_platform.catalog.models import SnapshotCopy
from backup_platform.notifications.models import Alert
from backup_platform.upkeep.models import ScrubFinding, ScrubMark
from backup_platform.upkeep.scrub_objects import scrub_snapshot, scrub_vault
from tests.upkeep.scrub_stage import copy_objects, flip, make_target, root_of

OBJECTS = [".root", ".recipients", ".references", ".statement", ".lifecycle"]


def key_of(ending: str) -> str:
    return next(key for key in stores.local_target().list() if key.endswith(ending))


@pytest.fixture
def cloud(stored):
    target = make_target(stored.vault, "cloud")
    copy_objects(stored.snapshot, target)
    return target


@pytest.mark.parametrize("at_home", [True, False])
@pytest.mark.parametrize("harm", ["flip", "gone"])
@pytest.mark.parametrize("ending", OBJECTS)
def test_every_object_is_healed_at_every_place(stored, cloud, ending, harm, at_home):
    key = key_of(ending)
    path = root_of(None if at_home else cloud) / key
    right = path.read_bytes()
    flip(path, len(right) // 2) if harm == "flip" else path.unlink()
    found = scrub_snapshot(stored.snapshot.pk)
    assert [(seen.here, seen.healed) for seen in found.seen] == [(at_home, True)]
    assert path.read_bytes() == right
    assert stored.states()[0] == "verified"
    assert ScrubFinding.objects.get().state == "healed"
    assert not scrub_snapshot(stored.snapshot.pk).seen


@pytest.mark.parametrize("ending", OBJECTS[1:])
def test_what_the_catalogue_holds_needs_no_other_place(stored, ending):
    path = root_of(None) / key_of(ending)
    right = path.read_bytes()
    flip(path, len(right) // 2)
    assert scrub_snapshot(stored.snapshot.pk).seen[0].healed
    assert path.read_bytes() == right


def test_a_root_without_another_copy_makes_its_snapshot_damaged_until_it_is_back(stored):
    path = root_of(None) / key_of(".root")
    flip(path, 70)
    found = scrub_snapshot(stored.snapshot.pk)
    assert not found.seen[0].healed
    assert stored.states()[0] == "damaged"
    assert ScrubFinding.objects.get().state == "lost"
    alert = Alert.objects.get(resolved_at=None)
    assert alert.text.startswith("A stored root is damaged")
    assert f"snapshot {stored.snapshot} of alpha" in alert.text
    assert "No machine can send this again" in alert.advice
    flip(path, 70)
    assert not scrub_snapshot(stored.snapshot.pk).seen
    assert stored.states()[0] == "verified"
    assert ScrubFinding.objects.get().state == "healed"


def test_standing_records_are_healed_from_the_catalogue(stored, cloud):
    for target in (None, cloud):
        for part in ("/machines/", "/vault-records/"):
            key = next(key for key in stores.local_target().list() if part in key)
            flip(root_of(target) / key, 3)
            found = scrub_vault(stored.vault.pk)
            assert [seen.healed for seen in found.seen] == [True]
    assert not scrub_vault(stored.vault.pk).seen


def test_a_target_that_is_away_leaves_the_subject_due(stored, cloud):
    root_of(cloud).rename(root_of(cloud).with_name("unplugged"))
    assert scrub_snapshot(stored.snapshot.pk).unread
    assert not ScrubMark.objects.exists()
    root_of(cloud).with_name("unplugged").rename(root_of(cloud))
    assert not scrub_snapshot(stored.snapshot.pk).unread
    assert ScrubMark.objects.get().snapshot_id == stored.snapshot.pk
    assert SnapshotCopy.objects.count() == 1


def test_a_root_that_is_damaged_everywhere_is_healed_from_nowhere(stored, cloud):
    key = key_of(".root")
    for target, at in ((None, 70), (cloud, 80)):
        flip(root_of(target) / key, at)
    before = [(root_of(target) / key).read_bytes() for target in (None, cloud)]
    found = scrub_snapshot(stored.snapshot.pk)
    assert [seen.healed for seen in found.seen] == [False, False]
    assert [(root_of(target) / key).read_bytes() for target in (None, cloud)] == before
    assert stored.states()[0] == "damaged"
