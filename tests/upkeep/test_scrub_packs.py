"""Scrub finds what rots at every place; healing puts proven bytes beside it, from wherever they can be had."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

import pytest

from backup_platform.audit.models import Entry
from backup_platform.catalog.chunk_index import ChunkState
from backup_platform.catalog.leases import pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, Wanted
from backup_platform.catalog.reading import PackReader
from backup_platform.jobs.models import Job, JobKind
from backup_platform.notifications.models import Alert
from backup_platform.storage.base import StoreUnavailable
from backup_platform.storage.local import LocalStore
from backup_platform.upkeep import heal_packs, heal_standing, parity_making, scrub_packs
from backup_platform.upkeep.heal_places import Place, parity_key
from backup_platform.upkeep.heal_sources import find_bytes, scratch
from backup_platform.upkeep.models import FindingState, ScrubFinding
from tests.catalog.stage import digest, run_jobs
from tests.upkeep.scrub_fixtures import Stored
from tests.upkeep.scrub_stage import (
    copy_pack,
    evict,
    file_at,
    flip,
    make_target,
    names_in_folder_of,
    root_of,
)


def spoil(stored: Stored, number: int, target=None) -> None:
    """Turn a bit of one of the records at a place."""
    path = file_at(stored.pack, target)
    flip(path, path.read_bytes().index(stored.data[number]) + 17)


def test_a_damaged_pack_is_healed_from_a_copy_before_any_snapshot_is_hurt(stored):
    cloud = make_target(stored.vault, "cloud")
    copy_pack(stored.pack, cloud)
    right = file_at(stored.pack).read_bytes()
    spoil(stored, 2)
    looked = scrub_packs.scrub_pack(stored.pack.pk)
    assert (looked.damaged, looked.healed) == (True, True)
    assert stored.states() == ("verified", "verified")
    assert file_at(stored.pack).read_bytes() == right
    assert names_in_folder_of(file_at(stored.pack)) == [f"{stored.pack.uid.hex}.pack"]
    finding = ScrubFinding.objects.get()
    assert (finding.state, finding.how) == ("healed", "from the copy at cloud")
    assert Entry.objects.filter(verb="storage.healed").count() == 1
    assert not Alert.objects.filter(resolved_at=None).exists()
    assert not scrub_packs.scrub_pack(stored.pack.pk).damaged


def test_a_pack_whose_file_is_gone_is_put_back(stored):
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    path = file_at(stored.pack)
    right = path.read_bytes()
    path.unlink()
    assert scrub_packs.scrub_pack(stored.pack.pk).healed
    assert file_at(stored.pack).read_bytes() == right
    assert stored.states() == ("verified", "verified")


@pytest.mark.parametrize("harm", ["record", "gone", "shared target"])
def test_a_damaged_copy_is_written_anew_from_this_host(stored, harm):
    cloud = make_target(stored.vault, "cloud", shared=harm == "shared target")
    copy = copy_pack(stored.pack, cloud)
    right = file_at(stored.pack).read_bytes()
    if harm == "gone":
        file_at(stored.pack, cloud).unlink()
    else:
        spoil(stored, 0, cloud)
    looked = scrub_packs.scrub_copy(copy.pk)
    assert looked.healed
    copy.refresh_from_db()
    assert (copy.state, copy.fault) == (CopyState.GOOD, "")
    assert copy.checked_at is not None
    assert file_at(stored.pack, cloud).read_bytes() == right
    assert ScrubFinding.objects.get().state == "healed"


def test_a_copy_is_healed_from_another_target_when_nothing_is_here_any_more(stored):
    one, two = make_target(stored.vault, "one"), make_target(stored.vault, "two")
    copy_pack(stored.pack, one)
    copy = copy_pack(stored.pack, two)
    evict(stored.pack)
    spoil(stored, 3, two)
    assert scrub_packs.scrub_copy(copy.pk).healed
    assert ScrubFinding.objects.get().how == "from the copy at one"
    assert stored.states() == ("verified", "verified")


def test_two_copies_damaged_in_different_records_heal_each_other(stored):
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    right = file_at(stored.pack).read_bytes()
    spoil(stored, 0)
    spoil(stored, 1, cloud)
    assert scrub_packs.scrub_pack(stored.pack.pk).healed
    assert file_at(stored.pack).read_bytes() == right
    assert Job.objects.filter(kind=JobKind.SCRUB, subject=f"copy:{copy.pk}").exists(), "the other one is looked at too"
    assert scrub_packs.scrub_copy(copy.pk).healed
    assert file_at(stored.pack, cloud).read_bytes() == right
    assert stored.states() == ("verified", "verified")


@pytest.mark.parametrize("part", ["file header", "record header", "index", "trailer"])
def test_what_a_pack_says_twice_is_healed_from_itself(stored, part):
    path = file_at(stored.pack)
    right = path.read_bytes()
    at = {"file header": 30, "record header": 60, "index": len(right) - 100, "trailer": len(right) - 20}[part]
    flip(path, at)
    assert scrub_packs.scrub_pack(stored.pack.pk).healed
    assert file_at(stored.pack).read_bytes() == right
    assert stored.states() == ("verified", "verified")


def test_parity_heals_the_only_copy(stored):
    cloud = make_target(stored.vault, "cloud", parity_percent=10)
    copy = copy_pack(stored.pack, cloud)
    evict(stored.pack)
    stored.pack.refresh_from_db()
    assert parity_making.make_parity(Place(stored.pack, Copy.objects.select_related("target").get(pk=copy.pk))) > 0
    copy.refresh_from_db()
    assert copy.parity_bytes > 0
    right = file_at(stored.pack, cloud).read_bytes()
    spoil(stored, 4, cloud)
    looked = scrub_packs.scrub_copy(copy.pk)
    assert looked.healed, looked
    assert file_at(stored.pack, cloud).read_bytes() == right
    assert ScrubFinding.objects.get().how == "by the parity at cloud"
    assert stored.states() == ("verified", "verified")


def test_parity_at_a_target_heals_this_hosts_file_too_when_the_copy_there_is_gone(stored):
    cloud = make_target(stored.vault, "cloud", parity_percent=20)
    copy = copy_pack(stored.pack, cloud)
    parity_making.make_parity(Place(stored.pack, Copy.objects.select_related("target").get(pk=copy.pk)))
    right = file_at(stored.pack).read_bytes()
    file_at(stored.pack, cloud).unlink()
    spoil(stored, 1)
    assert scrub_packs.scrub_pack(stored.pack.pk).healed
    assert file_at(stored.pack).read_bytes() == right


def test_what_parity_gives_counts_only_with_the_packs_own_digest(stored, monkeypatch):
    """A parity object whose digests are in order and which belongs to other bytes must not decide."""
    cloud = make_target(stored.vault, "cloud", parity_percent=10)
    copy = copy_pack(stored.pack, cloud)
    parity_making.make_parity(Place(stored.pack, Copy.objects.select_related("target").get(pk=copy.pk)))
    evict(stored.pack)
    forged = forged_parity(stored, file_at(stored.pack, cloud).read_bytes())
    path = root_of(cloud) / parity_key(copy.key)
    path.chmod(0o600)
    path.write_bytes(forged)
    spoil(stored, 2, cloud)
    before = file_at(stored.pack, cloud).read_bytes()
    place = Place(stored.pack, Copy.objects.select_related("target").get(pk=copy.pk))
    with scratch() as out:
        assert not find_bytes(stored.pack, [place], place, out).how
    assert not scrub_packs.scrub_copy(copy.pk).healed
    assert file_at(stored.pack, cloud).read_bytes() == before
    assert stored.states()[0] == "damaged"


def forged_parity(stored: Stored, right: bytes) -> bytes:
    """Parity that says it is of this pack, and was made of other bytes."""
    import io
    from dataclasses import replace

    from backup_platform.upkeep.parity_code import BLOCK_SIZE, columns_for, write_parity
    from protocol.stored.parity import ParityHead, encode_tail

    other = bytearray(right)
    other[len(other) // 2] ^= 0x80
    columns, further = columns_for(10)
    pack = stored.pack
    about = ParityHead(pack.vault_id.bytes, pack.uid.bytes, len(other), digest(bytes(other)), BLOCK_SIZE, columns,
                       further)  # fmt: skip
    out = io.BytesIO()
    head = replace(write_parity(io.BytesIO(bytes(other)), about, out), digest=digest(right))
    encoded = head.encode()
    middle = out.getvalue()[head.head_size : head.parity_offset(head.parity, 0)]
    return encoded + middle + encoded + encode_tail(encoded)


def test_what_nothing_can_heal_names_snapshots_and_machine_and_is_asked_for(stored):
    spoil(stored, 5)
    looked = scrub_packs.scrub_pack(stored.pack.pk)
    assert (looked.damaged, looked.healed) == (True, False)
    assert stored.states() == ("damaged", "damaged")
    assert bytes(Wanted.objects.get().chunk_id) == digest(stored.data[5])
    alert = Alert.objects.get(resolved_at=None)
    assert str(stored.snapshot) in alert.text
    assert "alpha" in alert.text
    assert ScrubFinding.objects.get().state == FindingState.LOST
    scrub_packs.scrub_pack(stored.pack.pk)
    assert ScrubFinding.objects.get().count == 2


def test_its_machine_sends_it_again_and_the_finding_is_closed(stored):
    from backup_platform.upkeep.scrub_findings import close_outgrown

    spoil(stored, 5)
    scrub_packs.scrub_pack(stored.pack.pk)
    stored.backup.begin()
    stored.backup.send(stored.data)
    stored.backup.propose(stored.data).send(stored.backup.machine, stored.backup.begun)
    run_jobs()
    assert close_outgrown() == 1
    assert stored.states()[0] == "verified"
    assert not Alert.objects.filter(resolved_at=None).exists()


def test_a_copy_that_comes_later_heals_what_was_lost(stored):
    """Nothing could heal it; then the target with the copy is back."""
    cloud = make_target(stored.vault, "cloud")
    copy_pack(stored.pack, cloud)
    away = root_of(cloud).with_name("unplugged")
    root_of(cloud).rename(away)
    spoil(stored, 1)
    assert not scrub_packs.scrub_pack(stored.pack.pk).healed
    assert stored.states() == ("damaged", "damaged")
    assert ScrubFinding.objects.get().state == FindingState.OPEN, "somebody who may have it could not be asked"
    away.rename(root_of(cloud))
    assert scrub_packs.scrub_pack(stored.pack.pk).healed
    run_jobs()
    assert stored.states() == ("verified", "verified")
    assert {found.sealed for one in [digest(stored.data[1])] for found in [PackReader(7101).read_one(one)]} == {
        stored.data[1]
    }


def test_a_target_that_is_away_is_never_taken_for_damage(stored):
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    root_of(cloud).rename(root_of(cloud).with_name("unplugged"))
    with pytest.raises(StoreUnavailable):
        scrub_packs.scrub_copy(copy.pk)
    copy.refresh_from_db()
    assert copy.state == CopyState.GOOD
    assert not ScrubFinding.objects.exists()
    cloud.refresh_from_db()
    assert cloud.away_since is not None


def test_a_good_copy_elsewhere_does_not_make_this_hosts_file_whole(stored):
    """The reader falls back to copies; scrub must not, or the damage here is never found."""
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    file_at(stored.pack).unlink()
    assert scrub_packs.scrub_pack(stored.pack.pk).damaged


class Watched(LocalStore):
    """A store that keeps what is done to it, and refuses to be written over."""

    acts: list[tuple[str, str]] = []

    def put(self, key, data, *, sha256=None, only_if_absent=True):
        assert only_if_absent, "nothing may be written over"
        self.acts.append(("put", key))
        super().put(key, data, sha256=sha256, only_if_absent=only_if_absent)

    def delete(self, key):
        self.acts.append(("delete", key))
        super().delete(key)


@pytest.fixture
def watched(monkeypatch):
    Watched.acts = []

    @contextmanager
    def watch():
        from backup_platform.catalog import stores

        with monkeypatch.context() as patched:
            patched.setattr(stores, "local_target", lambda: Watched(stores.home() / "store"))
            yield Watched.acts

    return watch


def test_healing_adds_and_proves_before_anything_goes(stored, watched):
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    spoil(stored, 2)
    usual = stored.pack.path
    further = usual.replace(".pack", ".healed-1.pack")
    with watched() as acts:
        assert scrub_packs.scrub_pack(stored.pack.pk).healed
    assert acts == [("put", further), ("delete", usual), ("put", usual), ("delete", further)]


def test_bytes_that_read_back_differently_are_not_switched_to(stored, watched, monkeypatch):
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    spoil(stored, 2)
    before = file_at(stored.pack).read_bytes()

    def rots(self, key, data, **more):
        LocalStore.put(self, key, data, **more)
        flip(self.root / key, 99)

    monkeypatch.setattr(Watched, "put", rots)
    with watched():
        assert not scrub_packs.scrub_pack(stored.pack.pk).healed
    assert file_at(stored.pack).read_bytes() == before
    assert names_in_folder_of(file_at(stored.pack)) == [f"{stored.pack.uid.hex}.pack"]


class PulledPlug(Exception):
    """The worker died here."""


def test_broken_off_healing_leaves_a_row_that_names_a_proven_file(stored, watched, monkeypatch):
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    right = file_at(stored.pack).read_bytes()
    spoil(stored, 2)

    def breaks(self, key):
        raise PulledPlug

    monkeypatch.setattr(Watched, "delete", breaks)
    with watched(), pytest.raises(PulledPlug):
        scrub_packs.scrub_pack(stored.pack.pk)
    assert file_at(stored.pack).name == f"{stored.pack.uid.hex}.healed-1.pack"
    assert file_at(stored.pack).read_bytes() == right
    monkeypatch.undo()
    assert not scrub_packs.scrub_pack(stored.pack.pk).damaged
    flip(file_at(stored.pack), 500)
    assert scrub_packs.scrub_pack(stored.pack.pk).healed, "and what was left there does not stand in the way"
    assert file_at(stored.pack).read_bytes() == right


def test_a_store_that_keeps_what_it_has_gets_the_good_file_under_a_further_key(stored, monkeypatch):
    """A lock against deletion: the damaged object stays, the row names the good one."""
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    spoil(stored, 0, cloud)

    def locked(self, key):
        raise StoreUnavailable("It is locked until next year.")

    monkeypatch.setattr(LocalStore, "delete", locked)
    assert scrub_packs.scrub_copy(copy.pk).healed
    copy.refresh_from_db()
    assert copy.key.endswith(".healed-1.pack")
    assert copy.state == CopyState.GOOD
    assert not scrub_packs.scrub_copy(copy.pk).damaged


def test_a_pack_that_was_moved_meanwhile_is_not_switched(stored, monkeypatch):
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    spoil(stored, 2)
    real = heal_standing._put_proven

    def meanwhile(*arguments):
        key = real(*arguments)
        Pack.objects.filter(pk=stored.pack.pk).update(lease_owner="somebody else")
        return key

    monkeypatch.setattr(heal_standing, "_put_proven", meanwhile)
    usual = stored.pack.path
    assert not scrub_packs.scrub_pack(stored.pack.pk).healed
    stored.pack.refresh_from_db()
    assert stored.pack.path == usual


def test_healing_waits_for_the_packs_lease(stored, monkeypatch):
    copy_pack(stored.pack, make_target(stored.vault, "cloud"))
    spoil(stored, 2)
    monkeypatch.setattr("backup_platform.catalog.leases.WAIT_SECONDS", 0.2)
    with pack_lease(stored.pack.pk):
        assert not heal_packs.heal_place(Place(stored.pack)).how
    assert heal_packs.heal_place(Place(stored.pack)).how == "from the copy at cloud"


def test_nothing_new_is_written_to_a_target_that_is_paused(stored):
    cloud = make_target(stored.vault, "cloud", state="paused")
    copy = copy_pack(stored.pack, cloud)
    spoil(stored, 0, cloud)
    assert not scrub_packs.scrub_copy(copy.pk).healed
    copy.refresh_from_db()
    assert copy.state == CopyState.DAMAGED
    assert stored.states() == ("verified", "verified"), "this host has it whole"


def test_an_unreadable_sector_of_a_copy_is_damage_of_what_lies_on_it(stored, monkeypatch):
    cloud = make_target(stored.vault, "cloud")
    copy = copy_pack(stored.pack, cloud)
    assert ChunkState.DAMAGED == 2
    real = LocalStore.open

    def broken(self, key):
        file = real(self, key)
        return Unreadable(file, 6_000) if "target-cloud" in str(self.root) and key == copy.key else file

    monkeypatch.setattr(LocalStore, "open", broken)
    looked = scrub_packs.scrub_copy(copy.pk)
    assert looked.damaged
    assert stored.states() == ("verified", "verified")


class Unreadable:
    """A file with a sector that the disk cannot read."""

    def __init__(self, inner, sector):
        self._inner, self._sector = inner, sector

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._inner.close()

    def _check(self, length):
        at = self._inner.tell()
        if length < 0 or at <= self._sector < at + length:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def read(self, size=-1):
        self._check(size)
        return self._inner.read(size)

    def readinto(self, buffer):
        self._check(len(buffer))
        return self._inner.readinto(buffer)
