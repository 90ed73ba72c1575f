"""A pack may leave this host while it is scrubbed, and a target may come back: neither may leave good bytes unread."""

from __future__ import annotations

import pytest
from django.utils import timezone

from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, Wanted
from backup_platform.catalog.reading import PackReader
from backup_platform.upkeep import scrub_packs
from backup_platform.upkeep.models import FindingState, ScrubFinding
from tests.catalog.stage import digest, run_jobs
from tests.upkeep.scrub_fixtures import Stored
from tests.upkeep.scrub_stage import copy_pack, evict, file_at, flip, make_target, root_of


def spoil(stored: Stored, number: int, target=None) -> None:
    path = file_at(stored.pack, target)
    flip(path, path.read_bytes().index(stored.data[number]) + 17)


def comes_back(stored: Stored) -> bool:
    found = {one.id: one.record for one in PackReader(stored.vault.number).read([digest(one) for one in stored.data])}
    return all(found[digest(one)] is not None and found[digest(one)].sealed == one for one in stored.data)


def swap_for_an_empty_disk(stored: Stored, target) -> None:
    """The right disk is away, and another one of our own (it bears the mark) is mounted in its place."""
    root = root_of(target)
    root.rename(root.with_name("the-right-disk"))
    (root / "x").mkdir(parents=True)
    (root / "x").rmdir()
    (root / ".strongroom-store").touch()


def swap_back(target) -> None:
    root = root_of(target)
    root.rename(root.with_name("the-wrong-disk"))
    root.with_name("the-right-disk").rename(root)


@pytest.mark.defence
def test_a_pack_whose_only_copy_is_whole_again_is_believed_again(stored):
    """For a while another disk stood in the target's place. When the right one is back, everything is as before."""
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    evict(stored.pack)
    swap_for_an_empty_disk(stored, cloud)
    assert scrub_packs.scrub_copy(copy.pk).damaged
    assert stored.states() == ("damaged", "damaged")
    swap_back(cloud)
    assert not scrub_packs.scrub_copy(copy.pk).damaged
    run_jobs()
    assert stored.states() == ("verified", "verified")
    assert not Wanted.objects.exists() or comes_back(stored)
    assert comes_back(stored)


@pytest.mark.defence
def test_a_pack_that_is_evicted_while_its_damaged_file_is_read_stays_good(stored, monkeypatch):
    """The eviction read its copy back a moment ago: what the file here was like does not matter any more."""
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    spoil(stored, 2)
    real = scrub_packs.examine_pack

    def meanwhile(pack, through):
        report = real(pack, through)
        Pack.objects.filter(pk=pack.pk).update(place=PackPlace.REMOTE)
        return report

    monkeypatch.setattr(scrub_packs, "examine_pack", meanwhile)
    scrub_packs.scrub_pack(stored.pack.pk)
    assert stored.states() == ("verified", "verified")
    assert not ScrubFinding.objects.exclude(state=FindingState.HEALED).exists()
    assert comes_back(stored)


def test_what_is_called_damaged_is_restored_from_a_target_that_has_it_all_the_same(stored):
    """Between the target's coming back and the next look at it nobody has to wait."""
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    evict(stored.pack)
    swap_for_an_empty_disk(stored, cloud)
    scrub_packs.scrub_copy(copy.pk)
    swap_back(cloud)
    Copy.objects.update(state=CopyState.GOOD)
    assert stored.states()[1] == "damaged"
    assert comes_back(stored)


@pytest.mark.defence
def test_a_copy_that_is_to_leave_still_heals_the_file_here(stored):
    cloud = make_target(stored.vault, "cloud")
    copy_pack(stored.pack, cloud)
    right = file_at(stored.pack).read_bytes()
    Copy.objects.update(state=CopyState.LEAVING, leaves_at=timezone.now())
    spoil(stored, 1)
    assert scrub_packs.scrub_pack(stored.pack.pk).healed
    assert file_at(stored.pack).read_bytes() == right
    assert stored.states() == ("verified", "verified")
