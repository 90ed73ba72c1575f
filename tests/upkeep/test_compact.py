"""Compact: space really comes back, without keys, and nothing is lost wherever it breaks off."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from backup_platform.catalog import stores
from backup_platform.catalog.leases import pack_lease
from backup_platform.catalog.models import Copy, CopyState, Pack, PackPlace, PackState, Snapshot
from backup_platform.catalog.verification import examine_pack
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.notifications.models import Alert
from backup_platform.storage.local import LocalStore
from backup_platform.targets.models import Target, TargetKind
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from backup_platform.upkeep import compacting, rewriting
from backup_platform.upkeep.heal_places import further_key, parity_key
from backup_platform.upkeep.services import pause_reclaim
from backup_platform.vaults.models import Vault
from tests.catalog.stage import Backup, contents, make_machine, make_vault, overwrite, pack_path
from tests.upkeep.reclaim_stage import (
    compact,
    files,
    ids_of,
    let_expire,
    live_packs,
    numbers,
    read_back,
    run_jobs,
    run_round,
)

SIZE = 20_000


@pytest.fixture
def vault(db, strongroom_home) -> Iterator[Vault]:
    vault = make_vault("north", 7102)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.fixture
def backup(vault: Vault) -> Backup:
    return Backup(make_machine(vault, "alpha"))


@pytest.fixture
def mostly_dead(vault: Vault, backup: Backup) -> tuple[list[bytes], list[bytes]]:
    """After a round, a pack of which a fifth is needed still: what two snapshots shared. And what the second added."""
    both, new = contents(2, SIZE), contents(1, SIZE)
    first = backup.run(contents(8, SIZE), both)
    backup.run(both, new)
    run_jobs()
    let_expire(first)
    run_round(vault)
    return both, new


def test_a_mostly_dead_pack_is_rewritten_and_its_file_goes(vault, mostly_dead):
    before = sum(pack.bytes for pack in live_packs(vault))
    numbered = numbers(vault)
    done = compact(vault)
    assert (done.sources, done.packs) == (1, 1)
    run_round(vault, begin=False)
    assert sum(pack.bytes for pack in live_packs(vault)) < before / 2
    assert len(files(vault)) == len(live_packs(vault)) == 2
    assert numbers(vault) == numbered
    read_back(vault, *mostly_dead)
    for pack in live_packs(vault):
        assert (pack.state, pack.place) == (PackState.VERIFIED, PackPlace.TARGET)
        assert examine_pack(pack).intact
    assert compact(vault).sources == 0  # there is no more to do


def test_small_packs_are_joined_when_there_are_enough(vault, backup):
    segments = [contents(1, SIZE) for _ in range(compacting.FEW)]
    for segment in segments[:-1]:
        backup.run(segment)
    run_jobs()
    assert compact(vault).sources == 0
    backup.run(segments[-1])
    run_jobs()
    done = compact(vault)
    assert (done.sources, done.packs) == (compacting.FEW, 1)
    run_round(vault, begin=False)
    assert len(files(vault)) == 1
    read_back(vault, *segments)
    assert {snapshot.state for snapshot in Snapshot.objects.all()} == {"verified"}


def test_packs_of_a_backup_under_way_are_left_alone(vault, backup):
    backup.begin()
    for _ in range(compacting.FEW):
        backup.send(contents(1, SIZE))
    run_jobs()
    assert compact(vault).sources == 0


def test_the_old_file_stays_for_the_grace_so_that_readers_find_it(vault, mostly_dead):
    old = Pack.objects.order_by("pk").first()
    compacting.compact_vault(vault, compacting.Turn(), grace=timedelta(hours=1))
    run_round(vault, begin=False)
    old.refresh_from_db()
    assert old.place == PackPlace.TARGET
    assert pack_path(old).exists()
    assert old.replaced_by is not None
    read_back(vault, *mostly_dead)


def test_a_pack_that_somebody_else_works_on_is_left_for_later(vault, mostly_dead):
    with pack_lease(Pack.objects.order_by("pk").first().pk):
        done = compact(vault)
    assert (done.sources, len(done.skipped)) == (0, 1)
    assert compact(vault).sources == 1


def test_a_damaged_record_is_not_copied_and_nothing_changes(vault, mostly_dead):
    both, _ = mostly_dead
    pack = Pack.objects.order_by("pk").first()
    before = numbers(vault)
    path = pack_path(pack)
    overwrite(path, path.read_bytes().index(both[0]) + 5, b"\xff\xfe\xfd")
    done = compact(vault)
    assert done.sources == 0
    assert "scrub" in done.skipped[0]
    assert numbers(vault) == before
    assert not Pack.objects.filter(spool="compact").exists()
    assert not work_files()


class FullDisk(FileLayer):
    """Takes some bytes, and then no more."""

    def write(self, fd, buffers):
        if not hasattr(self, "taken"):
            self.taken = super().write(fd, buffers[:1])
            return self.taken
        raise OSError(errno.ENOSPC, "no space left")


class NoSpaceLeft(FileLayer):
    def free_bytes(self, path: Path) -> int:
        return 1000


@pytest.mark.parametrize("disk", [FullDisk, NoSpaceLeft])
def test_a_full_disk_is_said_and_leaves_nothing_behind(vault, mostly_dead, monkeypatch, disk):
    monkeypatch.setattr(rewriting, "FileLayer", disk)
    before, kept = numbers(vault), files(vault)
    done = compact(vault)
    assert "disk is full" in done.waits_for
    assert "Nothing was changed" in done.waits_for
    assert (numbers(vault), files(vault)) == (before, kept)
    assert not Pack.objects.filter(spool="compact").exists()
    assert not work_files()
    assert Alert.objects.filter(kind="disk", resolved_at__isnull=True).count() == 1
    read_back(vault, *mostly_dead)
    monkeypatch.undo()
    assert compact(vault).sources == 1
    assert not Alert.objects.filter(kind="disk", resolved_at__isnull=True).exists()


class Crash(BaseException):
    """The process is gone: nothing after it runs."""


def crash_at(monkeypatch, name: str) -> None:
    """Let the process die where `name` would have been called, without its tidying up."""

    def die(*args, **more):
        raise Crash

    monkeypatch.setattr(rewriting, name, die)
    if name != "_discard":
        monkeypatch.setattr(rewriting, "_discard", lambda pack: None)


@pytest.mark.parametrize("where", ["_write", "_place", "_switch", "_publish", "_point", "release_packs"])
def test_a_crash_anywhere_leaves_all_readable_and_is_tidied_up(vault, mostly_dead, monkeypatch, where):
    crash_at(monkeypatch, where)
    with pytest.raises(Crash):
        compact(vault)
    monkeypatch.undo()
    read_back(vault, *mostly_dead)
    Pack.objects.update(lease_until=timezone.now() - timedelta(seconds=1))  # the dead one's leases end
    compact(vault)
    run_round(vault)
    run_round(vault, begin=False)
    read_back(vault, *mostly_dead)
    assert not Pack.objects.filter(state=PackState.OPEN).exists()
    assert len(files(vault)) == len(live_packs(vault)) == 2
    assert not work_files(".open")


def test_who_was_too_slow_cannot_publish_a_pack_that_was_tidied_away(vault, mostly_dead, monkeypatch):
    real = rewriting._place

    def slow(new, *rest):
        real(new, *rest)
        Pack.objects.filter(pk=new.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        assert rewriting.clear_leftovers(vault) == 1

    monkeypatch.setattr(rewriting, "_place", slow)
    before = numbers(vault)
    done = compact(vault)
    assert done.sources == 0
    assert numbers(vault) == before
    read_back(vault, *mostly_dead)


def test_what_was_removed_meanwhile_does_not_come_back(vault, backup, mostly_dead, monkeypatch):
    _, new = mostly_dead
    real = rewriting._place

    def remove_one(made, *rest):
        real(made, *rest)
        let_expire(*Snapshot.objects.filter(state="verified").values_list("pk", flat=True))
        backup.run(new)
        run_jobs()
        run_round(vault)

    monkeypatch.setattr(rewriting, "_place", remove_one)
    compact(vault)
    assert set(numbers(vault)) == ids_of(new)
    read_back(vault, new)


def test_a_pack_that_is_at_another_target_only_is_rewritten_too(vault, mostly_dead, tmp_path):
    pack, target, store = send_away(vault, tmp_path)
    assert compact(vault).sources == 1
    run_round(vault, begin=False)
    read_back(vault, *mostly_dead)
    pack.refresh_from_db()
    # Its successor has no copy there yet, so the old one keeps its.
    assert pack.place != PackPlace.GONE
    assert store.exists(Copy.objects.get(pack=pack).key)
    new = Pack.objects.get(pk=pack.replaced_by_id)
    assert Copy.objects.filter(pack=new, target=target).exists()  # it was asked for
    Copy.objects.filter(pack=new, target=target).update(state=CopyState.GOOD)
    run_round(vault, begin=False)
    pack.refresh_from_db()
    assert (pack.place, pack.unlink_at) == (PackPlace.GONE, None)
    copy = Copy.objects.get(pack=pack)
    assert copy.state == CopyState.GONE
    assert not store.exists(copy.key)


def test_a_target_that_is_away_keeps_its_file_and_is_asked_again(vault, backup, tmp_path):
    first = backup.run(contents(2))
    backup.run(contents(2))
    run_jobs()
    pack, _, store = send_away(vault, tmp_path)
    let_expire(first)
    store.root.rename(tmp_path / "unplugged")
    outcome = run_round(vault)
    assert outcome.unlinked_packs == 0
    assert outcome.later
    pack.refresh_from_db()
    assert pack.place == PackPlace.GONE
    (tmp_path / "unplugged").rename(store.root)
    assert run_round(vault, begin=False).unlinked_packs == 1
    assert not list(store.list())


def test_the_parity_of_a_copy_that_stands_under_a_healed_name_goes_with_it(vault, backup, tmp_path):
    first = backup.run(contents(2))
    backup.run(contents(2))
    run_jobs()
    pack, _, store = send_away(vault, tmp_path)
    usual = Copy.objects.get(pack=pack).key
    store.put(further_key(usual, 1), store.get(usual))
    store.delete(usual)
    store.put(parity_key(usual), b"parity")
    Copy.objects.filter(pack=pack).update(key=further_key(usual, 1))
    let_expire(first)
    assert run_round(vault).unlinked_packs == 1
    assert not list(store.list())


def test_a_pause_holds_compaction_back_too(vault, mostly_dead):
    pause_reclaim(vault.tenant_id, by="ann")
    assert compact(vault).sources == 0


def send_away(vault: Vault, tmp_path: Path) -> tuple[Pack, Target, LocalStore]:
    """The oldest pack as tiering would leave it: at another target only."""
    store = LocalStore.create(tmp_path / "elsewhere")
    with without_tenant_scope("test"):
        target = Target.objects.create(
            name="elsewhere", kind=TargetKind.LOCAL, path=str(store.root), tenant_id=vault.tenant_id
        )
    pack = Pack.objects.filter(vault=vault).order_by("pk").first()
    key = stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)
    store.put(key, stores.local_target().get(key))
    now = timezone.now()
    Copy.objects.create(
        tenant_id=vault.tenant_id, pack=pack, target=target, state=CopyState.GOOD, key=key, bytes=pack.bytes,
        written_at=now, checked_at=now,
    )  # fmt: skip
    Pack.objects.filter(pk=pack.pk).update(place=PackPlace.REMOTE)
    stores.local_target().delete(key)
    pack.refresh_from_db()
    return pack, target, store


def work_files(suffix: str = "") -> list[Path]:
    directory = stores.spool_path("compact")
    return [path for path in directory.iterdir() if path.name.endswith(suffix)] if directory.is_dir() else []
