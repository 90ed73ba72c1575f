"""A disk that fills up while packs are compacted: it is said, nothing is lost or left behind, and it goes on later.

At every single call by a disk that refuses what needs room; and, where root may mount, by a real one that is filled to
its last byte at random calls (`POWER_SEED` repeats them).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_platform.catalog import stores
from backup_platform.catalog.models import Pack
from backup_platform.notifications.models import Alert
from backup_platform.tenants.scope import tenant_scope
from backup_platform.upkeep import rewriting
from backup_platform.upkeep.compacting import Compacted
from backup_platform.vaults.models import Vault
from tests.catalog.stage import make_vault
from tests.faults.mounts import cannot_mount, tmpfs
from tests.faults.power import FullDisk, WatchedDisk
from tests.faults.power_stage import (
    Compacting,
    Life,
    begin_life,
    copy_of,
    everything_is_there,
    nothing_is_left_to_do,
    start_again,
    undone,
)
from tests.upkeep.reclaim_stage import compact, files, numbers, run_round

MOST_CALLS = 400
MOMENTS = 6
TMPFS_MEBIBYTES = 8


@pytest.fixture
def disk_root(tmp_path: Path, settings) -> Path:
    root = tmp_path / "disk"
    settings.STRONGROOM_HOME = root / "home"
    return root


@pytest.fixture
def vault(db, disk_root: Path) -> Iterator[Vault]:
    vault = make_vault("north", 7602)
    with tenant_scope(vault.tenant_id):
        yield vault


def test_disk_that_is_full_from_any_call_on_loses_nothing_and_is_gone_on_with(
    vault: Vault, disk_root: Path, tmp_path: Path
):
    (disk_root / "home").mkdir(parents=True)
    life = begin_life(vault, Compacting())
    before = copy_of(disk_root, tmp_path / "before")
    full = 0
    for allowed in range(MOST_CALLS):
        disk = FullDisk(copy_of(before, disk_root), allowed)
        with undone():
            compact_on(disk, life.twin())
        if not disk.refused:
            break
        full += 1
    assert full >= 5, "there was hardly a call that needs room"


@pytest.mark.skipif(bool(cannot_mount()), reason=cannot_mount() or "-")
def test_real_disk_without_a_byte_left_loses_nothing_and_is_gone_on_with(
    vault: Vault, disk_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rewriting, "SPARE_ROOM", 0)  # the disk fills up after it was looked at
    seed = int(os.environ.get("POWER_SEED") or random.SystemRandom().randrange(10**6))
    print(f"full disk: seed {seed}")
    with tmpfs(disk_root, TMPFS_MEBIBYTES):
        (disk_root / "home").mkdir()
        life = begin_life(vault, Compacting())
        before = copy_of(disk_root, tmp_path / "before")
        calls = WatchedDisk(disk_root)
        with undone(), calls.watched():
            compact(vault)
        for allowed in sorted(random.Random(seed).sample(range(calls.calls), min(MOMENTS, calls.calls))):
            put_back(before, disk_root)
            with undone():
                compact_on(BallastDisk(disk_root, allowed), life.twin())


class BallastDisk(WatchedDisk):
    """A real file system that somebody else fills after `allowed` calls."""

    def __init__(self, root: Path, allowed: int) -> None:
        super().__init__(root)
        self.allowed = allowed
        self.ballast = root / "ballast"

    @property
    def there_is_room(self) -> bool:
        return not self.ballast.exists()

    @there_is_room.setter
    def there_is_room(self, room: bool) -> None:
        assert room
        self.ballast.unlink(missing_ok=True)

    def before(self, name: str, path: Path) -> None:
        if path == self.ballast:
            return
        super().before(name, path)
        if self.calls == self.allowed + 1:
            self.fill()

    def fill(self) -> None:
        """Take every byte."""
        with self.ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue


def compact_on(disk: FullDisk | BallastDisk, life: Life) -> None:
    """Compact while there is no room, look, make room, and compact again."""
    was = numbers(life.vault), files(life.vault)
    with disk.watched():
        done = compact(life.vault)
    if not done.packs:
        nothing_was_changed(life, done, was)
    everything_is_there(life)
    disk.there_is_room = True
    start_again()
    with disk.watched():
        assert compact(life.vault).packs + done.packs == 1
    run_round(life.vault, begin=False)
    everything_is_there(life)
    nothing_is_left_to_do()
    assert not Alert.objects.filter(kind="disk", resolved_at__isnull=True).exists()


def nothing_was_changed(life: Life, done: Compacted, was: tuple[dict[bytes, int], set[str]]) -> None:
    assert "disk is full" in done.waits_for
    assert "Nothing was changed" in done.waits_for
    assert (numbers(life.vault), files(life.vault)) == was
    assert not Pack.objects.filter(spool="compact").exists()
    work = stores.spool_path("compact")
    assert not work.is_dir() or not list(work.iterdir())
    assert Alert.objects.filter(kind="disk", resolved_at__isnull=True).count() == 1


def put_back(before: Path, root: Path) -> None:
    """The same beginning again, on a file system that stays mounted."""
    (root / "ballast").unlink(missing_ok=True)
    copy_of(before / "home", root / "home")
