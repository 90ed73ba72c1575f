"""Lifecycle records after the receipt are scrubbed too: each at every place that has it, from rows or from a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_platform.catalog import stores
from backup_platform.catalog.models import SnapshotCopy
from backup_platform.retention import lifecycle
from backup_platform.retention.models import LifecycleEntry
from backup_platform.storage.base import StoreUnavailable
from backup_platform.upkeep import scrub_lifecycle
from backup_platform.upkeep.models import ScrubFinding, ScrubMark
from backup_platform.upkeep.scrub_objects import scrub_snapshot
from protocol.stored.lifecycle import LifecycleEvent, LifecycleRecord, decode_lifecycle
from tests.upkeep.scrub_stage import copy_objects, flip, make_target, root_of

EVENTS = (LifecycleEvent.EXPIRED, LifecycleEvent.UNDELETED, LifecycleEvent.HOLD_SET)


@pytest.fixture
def recorded(stored):
    """A snapshot with a receipt and three more records."""
    for number, event in enumerate(EVENTS):
        lifecycle.append([stored.snapshot.pk], event, {"because": f"reason {number}", "by": "ada"},
                         tenant_id=stored.vault.tenant_id)  # fmt: skip
        lifecycle.write_due(stored.vault.tenant_id)
    return stored


@pytest.fixture
def cloud(recorded):
    target = make_target(recorded.vault, "cloud")
    copy = copy_objects(recorded.snapshot, target)
    SnapshotCopy.objects.filter(pk=copy.pk).update(lifecycle=4)
    return target


def path_of(stored, number: int, target=None) -> Path:
    snapshot = stored.snapshot
    return root_of(target) / stores.lifecycle_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk, number)


def scrub(stored) -> list[tuple[str, bool, bool]]:
    """Name, whether at home, and whether healed, of all that was not right."""
    found = scrub_snapshot(stored.snapshot.pk)
    assert found.unread == []
    return [(Path(seen.name).name, seen.here, seen.healed) for seen in found.seen]


def test_four_records_that_are_right_are_looked_at_and_nothing_is_said(recorded, cloud):
    assert scrub(recorded) == []
    assert scrub_snapshot(recorded.snapshot.pk).objects == 2 * (4 + 4)
    assert not ScrubFinding.objects.exists()


@pytest.mark.defence
@pytest.mark.parametrize("harm", ["flip", "gone", "another"])
@pytest.mark.parametrize("number", [2, 3, 4])
def test_every_record_is_healed_from_its_row(recorded, number, harm):
    path = path_of(recorded, number)
    right = path.read_bytes()
    if harm == "flip":
        flip(path, len(right) // 2)
    else:
        path.unlink()
    if harm == "another":
        path.write_bytes(path_of(recorded, 1).read_bytes())
    assert scrub(recorded) == [(f"{number}.lifecycle", True, True)]
    assert path.read_bytes() == right
    assert ScrubFinding.objects.get().state == "healed"
    assert scrub(recorded) == []


def test_at_a_target_as_many_are_expected_as_were_copied_there(recorded, cloud):
    SnapshotCopy.objects.update(lifecycle=3)
    path_of(recorded, 4, cloud).unlink()
    assert scrub(recorded) == [], "the fourth was not said to be there"
    flip(path_of(recorded, 3, cloud), 30)
    assert scrub(recorded) == [("3.lifecycle", False, True)]
    assert path_of(recorded, 3, cloud).read_bytes() == path_of(recorded, 3).read_bytes()


def test_records_without_rows_are_judged_by_their_chain_and_healed_from_another_place(recorded, cloud):
    """As in a catalogue that was rebuilt: nobody but the stores knows what became of the snapshot."""
    LifecycleEntry.objects.all().delete()
    assert scrub(recorded) == []
    for number in (2, 4):
        path = path_of(recorded, number)
        right = path.read_bytes()
        flip(path, 40)
        assert scrub(recorded) == [(f"{number}.lifecycle", True, True)]
        assert path.read_bytes() == right


def test_rows_that_begin_in_the_middle_are_no_damage(recorded):
    LifecycleEntry.objects.filter(number__lt=4).delete()
    assert scrub(recorded) == []
    flip(path_of(recorded, 2), 40)
    (said,) = scrub(recorded)
    assert said == ("2.lifecycle", True, False), "nobody else has it, so it stays as it is"
    assert ScrubFinding.objects.get().state == "lost"
    assert recorded.states()[0] == "verified", "content needs no lifecycle record"


def test_a_record_of_another_history_does_not_pass(recorded, cloud):
    """Right in itself, of this snapshot, and not behind the record that is there."""
    LifecycleEntry.objects.all().delete()
    path = path_of(recorded, 3)
    held = decode_lifecycle(path.read_bytes())
    forged = LifecycleRecord(held.snapshot_id, held.event, held.time, b"x" * 32, held.detail)
    path.unlink()
    path.write_bytes(forged.encode())
    assert scrub(recorded) == [("3.lifecycle", True, True)]
    assert decode_lifecycle(path.read_bytes()) == held


def test_a_chain_that_was_begun_anew_is_no_damage(stored):
    """The receipt was lost when the next record was written; later it was healed."""
    path_of(stored, 1).unlink()
    lifecycle.append([stored.snapshot.pk], LifecycleEvent.EXPIRED, {}, tenant_id=stored.vault.tenant_id)
    lifecycle.write_due(stored.vault.tenant_id)
    second = path_of(stored, 2).read_bytes()
    assert decode_lifecycle(second).previous == bytes(32)
    assert scrub(stored) == [("1.lifecycle", True, True)]
    assert scrub(stored) == []
    assert path_of(stored, 2).read_bytes() == second


@pytest.mark.defence
def test_a_store_that_cannot_be_asked_for_more_records_leaves_the_snapshot_due(recorded, monkeypatch):
    """Law 7: no answer is not "there are no more"."""
    from backup_platform.storage.local import LocalStore

    real = LocalStore.exists

    def exists(store, key):
        if key.endswith(".lifecycle"):
            raise StoreUnavailable("The disk is away.")
        return real(store, key)

    monkeypatch.setattr(LocalStore, "exists", exists)
    assert scrub_snapshot(recorded.snapshot.pk).unread
    assert not ScrubMark.objects.exists()


def test_a_record_that_cannot_be_read_just_now_is_neither_damaged_nor_gone(recorded, monkeypatch):
    from backup_platform.storage.local import LocalStore

    real = LocalStore.get

    def get(store, key, *more, **options):
        if key.endswith("/3.lifecycle"):
            raise StoreUnavailable("The disk is away.")
        return real(store, key, *more, **options)

    monkeypatch.setattr(LocalStore, "get", get)
    found = scrub_snapshot(recorded.snapshot.pk)
    assert (found.seen, bool(found.unread)) == ([], True)
    assert not ScrubMark.objects.exists()


def test_rows_are_read_in_pages(recorded, monkeypatch, django_assert_max_num_queries):
    monkeypatch.setattr(scrub_lifecycle, "PAGE", 1)
    assert scrub(recorded) == []
