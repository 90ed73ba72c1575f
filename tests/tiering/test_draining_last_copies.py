"""Draining never takes the last right bytes: not of a pack, not of a root, not where two targets are one place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.models import Copy, Pack, Snapshot, SnapshotCopy
from backup_platform.jobs.models import Job, JobKind
from backup_platform.storage.local import LocalStore
from backup_platform.storage.memory import MemoryStore
from backup_platform.targets.models import Target
from backup_platform.tiering.evicting import GRACE, unlink_due
from backup_platform.tiering.models import EvictWhen
from backup_platform.tiering.services import start_drain
from backup_platform.upkeep import scrub_packs
from tests.catalog.stage import overwrite
from tests.tiering.stage import comes_back, forget_cache, hour_passes, local_files, state_of, tick, ticks, wake_all

LATER = GRACE + timedelta(minutes=1)


@pytest.fixture
def target(make_target, tmp_path) -> Target:
    return make_target(name="old")


@pytest.fixture
def copied(pack, make_rule, target) -> Pack:
    """A pack that is at home and at one target."""
    make_rule(target)
    ticks(lambda: Copy.objects.filter(state="good").exists(), most=5)
    pack.refresh_from_db()
    return pack


def objects_at(target: Target, ending: str) -> list[Path]:
    return sorted(Path(target.path).rglob(f"*{ending}"))


@pytest.mark.defence
def test_a_copy_stays_when_the_file_at_home_rotted_within_the_hour(copied, vault, data, target):
    start_drain(target, "user boss")
    tick()
    assert Copy.objects.get().state == "leaving"
    overwrite(local_files()[0], 300, b"\xff\xfe\xfd\xfc")
    hour_passes()
    tick()
    assert objects_at(target, ".pack"), "it holds the last right bytes"
    assert Copy.objects.get().state in ("good", "leaving")
    assert Job.objects.filter(kind=JobKind.SCRUB, subject=f"pack:{copied.pk}").exists()
    scrub_packs.scrub_pack(copied.pk)
    forget_cache()
    assert comes_back(vault, data)
    ticks(lambda: hour_passes() or state_of(target) == "retired", most=20)
    assert not objects_at(target, ".pack")
    assert comes_back(vault, data), "home was healed before the copy left"


@pytest.mark.defence
def test_a_root_stays_at_a_drained_target_while_the_one_at_home_is_another(copied, target):
    snapshot = Snapshot.objects.get()
    ticks(lambda: SnapshotCopy.objects.filter(objects_at__isnull=False).exists(), most=5)
    key = stores.root_key(snapshot.tenant_id, snapshot.vault_id, snapshot.pk)
    right = (Path(target.path) / key).read_bytes()
    overwrite(stores.home() / "store" / key, 20, b"\xff\xfe\xfd\xfc")
    start_drain(target, "user boss")
    ticks(lambda: hour_passes() or state_of(target) == "retired", most=20)
    assert Job.objects.filter(kind=JobKind.HEAL, subject=f"snapshot:{snapshot.pk}").exists()
    assert stores.local_target().get(key) == right, "home was healed before the other one went"
    assert not (Path(target.path) / key).exists()


@pytest.mark.defence
def test_two_names_of_one_directory_are_one_copy(pack, vault, data, make_target, make_rule, tmp_path):
    """Somebody added a disk twice, the second time by a link to it."""
    first = make_target(name="disk")
    link = tmp_path / "link"
    link.symlink_to(Path(first.path))
    second = make_target(name="again", path=str(link))
    make_rule(first, evict_when=EvictWhen.DAYS, min_copies=2)
    make_rule(second)
    for _ in range(4):
        wake_all()
        tick()
    assert Copy.objects.filter(state="good").count() == 2
    assert Pack.objects.get().place == "target", "they are not two copies"
    Pack.objects.update(place="remote")
    for path in local_files():
        path.unlink()
    start_drain(second, "user boss")
    for _ in range(4):
        tick()
        hour_passes()
    assert objects_at(first, ".pack") or local_files()
    forget_cache()
    assert comes_back(vault, data)


@pytest.mark.defence
def test_a_target_that_is_the_home_directory_by_a_link_is_no_second_place(
    pack, vault, data, make_target, make_rule, tmp_path
):
    """The store was moved to a larger disk and linked; then somebody made that disk a target."""
    store = stores.home() / "store"
    moved = tmp_path / "large-disk"
    store.rename(moved)
    store.symlink_to(moved)
    target = make_target(name="large", path=str(moved), store=None)
    make_rule(target, evict_when=EvictWhen.DAYS)
    for _ in range(4):
        wake_all()
        tick()
    unlink_due(timezone.now() + LATER)
    assert Pack.objects.get().place == "target"
    assert comes_back(vault, data)
    start_drain(target, "user boss")
    for _ in range(4):
        tick()
        hour_passes()
    assert comes_back(vault, data)
    assert local_files()


def test_wrong_bytes_from_a_cache_do_not_keep_a_pack_from_coming_home(pack, vault, data, make_target, make_rule):
    from backup_platform.catalog.errors import RecordUnavailable
    from backup_platform.catalog.pack_files import read_cache
    from backup_platform.tiering.recalling import recall

    make_rule(make_target(store=MemoryStore()), evict_when=EvictWhen.DAYS)
    ticks(lambda: Pack.objects.filter(place="remote").exists(), most=5)
    unlink_due(timezone.now() + LATER)
    pack.refresh_from_db()
    read_cache().keep(pack.uid.hex, 0, bytes(pack.bytes))
    with pytest.raises(RecordUnavailable):
        recall(pack.pk)
    assert not local_files()
    assert recall(pack.pk)
    assert comes_back(vault, data)


assert LocalStore
