"""A power cut while packs are placed, copied, evicted, compacted, unlinked, healed: every acknowledged byte is there.

Two ways, as for the gateway: a disk that forgets what was not fsynced, cut before single calls; and an ext4 image,
copied at random moments and mounted as the disk would be found. `POWER_CUTS` is how many such moments of each way, and
has every call cut at (`make soak` takes 100); `POWER_SEED` repeats a run.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_platform.tenants.scope import tenant_scope
from backup_platform.vaults.models import Vault
from tests.catalog.stage import make_vault
from tests.faults.mounts import cannot_loop, make_image, mounted_image
from tests.faults.power import FailingDisk, ForgetfulDisk, Keeps
from tests.faults.power_stage import WAYS, Life, Way, act_until_cut, begin_life, copy_of, live_through, undone

MOST_CALLS = 400
CUTS = 12
"""So many calls of each way, evenly spread, are cut at; with `POWER_CUTS` every single one. It takes seconds each."""
SETTLED = 2
"""After each second cut the work is gone on with too; what was acknowledged is read after every one."""
CHANCE = 5
"""So many calls fewer it may make another time: a folder for a pack's first two digits may be there already."""
IMAGE_MEBIBYTES = 48
MOMENTS = int(os.environ.get("POWER_CUTS") or 2)
EVERY_CALL = bool(os.environ.get("POWER_CUTS"))


@pytest.fixture
def disk_root(tmp_path: Path, settings) -> Path:
    """Where the one disk of this host is: all that the platform writes lies beneath."""
    root = tmp_path / "disk"
    settings.STRONGROOM_HOME = root / "home"
    return root


@pytest.fixture
def vault(db, disk_root: Path) -> Iterator[Vault]:
    vault = make_vault("north", 7601)
    with tenant_scope(vault.tenant_id):
        yield vault


@pytest.mark.parametrize("name", WAYS)
def test_power_cut_before_any_call_loses_nothing_acknowledged(vault: Vault, disk_root: Path, tmp_path: Path, name: str):
    way = WAYS[name]()
    (disk_root / "home").mkdir(parents=True)
    life = begin_life(vault, way)
    before = copy_of(disk_root, tmp_path / "before")
    calls = calls_of(way, life, disk_root)
    assert calls >= 5, "there was nothing that could be broken off"
    step = 1 if EVERY_CALL else -(-calls // CUTS)
    for number, allowed in enumerate([*range(0, calls, step), MOST_CALLS]):  # the last time after all is done
        all_states = EVERY_CALL or allowed == MOST_CALLS
        for keeps in list(Keeps) if all_states else [list(Keeps)[number % len(Keeps)]]:
            copy_of(before, disk_root)
            with undone():
                disk = ForgetfulDisk(disk_root, allowed, keeps)
                live_through(way, life.twin(), disk, settles=EVERY_CALL or number % SETTLED == 0)
                assert disk.is_cut or allowed > calls - CHANCE
    print(f"power cuts: {name}, {calls} calls, every {step}., all well")


def calls_of(way: Way, life: Life, root: Path) -> int:
    """How many calls change something when nothing fails; some more or fewer where chance has a part."""
    disk = FailingDisk(root, MOST_CALLS)
    with undone():
        act_until_cut(way, life.twin(), disk)
    assert not disk.is_cut, "it makes more calls than were tried"
    return disk.calls


@pytest.mark.skipif(bool(cannot_loop()), reason=cannot_loop() or "-")
@pytest.mark.parametrize("name", WAYS)
def test_disk_as_a_power_cut_leaves_it_has_every_acknowledged_byte(
    vault: Vault, disk_root: Path, tmp_path: Path, name: str
):
    seed = int(os.environ.get("POWER_SEED") or random.SystemRandom().randrange(10**6))
    print(f"power cuts: {name}, seed {seed}")
    way, image = WAYS[name](), tmp_path / "image"
    make_image(image, IMAGE_MEBIBYTES)
    with mounted_image(image, disk_root):
        (disk_root / "home").mkdir()
        life = begin_life(vault, way)
        subprocess.run(["sync", "-f", disk_root], check=True, timeout=60)
    with mounted_image(copied(image, "running"), disk_root):
        calls = calls_of(way, life, disk_root)
    moments = random.Random(seed).sample(range(calls), min(MOMENTS, calls))
    for allowed in sorted(moments):
        with undone(), ImageDisk(disk_root, allowed, copied(image, "running")) as disk:
            live_through(way, life.twin(), disk)
            assert disk.is_cut or allowed > calls - CHANCE


def copied(image: Path, name: str) -> Path:
    """A copy of an image as it is now."""
    copy = image.with_name(name)
    copy.unlink(missing_ok=True)
    subprocess.run(["cp", "--sparse=always", image, copy], check=True, timeout=60)
    return copy


class ImageDisk(FailingDisk):
    """A mounted image; what it is at the moment of the cut is what is mounted afterwards."""

    def __init__(self, root: Path, allowed: int, image: Path) -> None:
        super().__init__(root, allowed)
        self.image = image
        self._mounted = mounted_image(image, root)

    def __enter__(self) -> ImageDisk:
        self._mounted.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._mounted.__exit__(None, None, None)

    def power_fails(self) -> None:
        copied(self.image, "found")

    def cut(self) -> None:
        self._mounted.__exit__(None, None, None)
        self._mounted = mounted_image(self.image.with_name("found") if self.is_cut else self.image, self.root)
        self._mounted.__enter__()
