"""Random bit flips over everything that is stored: each is found, no reader gets a wrong byte, each is healed.

One run is one seed. What stands where: two packs, each here and at a target, one with parity there; a third pack at the
target alone, with parity; the snapshots' objects and the vault's records here and there.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from backup_platform.catalog.errors import RecordLost
from backup_platform.catalog.models import Copy, Pack, Snapshot
from backup_platform.catalog.reading import PackReader
from backup_platform.targets.models import Target
from backup_platform.upkeep.heal_places import Place
from backup_platform.upkeep.parity_making import make_parity
from backup_platform.upkeep.scrub_now import scrub_everything
from tests.catalog.stage import Backup, contents, digest, make_machine, run_jobs
from tests.upkeep.scrub_stage import copy_objects, copy_pack, evict, flip, make_target, root_of


@dataclass
class Flips:
    """The stage, and what came of it so far."""

    vault: object
    chance: random.Random
    data: list[bytes] = field(default_factory=list)
    done: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)
    cloud: Target = field(init=False)

    def __post_init__(self) -> None:
        backup = Backup(make_machine(self.vault, "alpha"))
        for _ in range(3):
            self.data += contents(4, 3000)
            backup.run(*[self.data[i : i + 4] for i in range(0, len(self.data), 4)])
            run_jobs()
        self.cloud = make_target(self.vault, "cloud", parity_percent=10)
        for pack in Pack.objects.order_by("pk"):
            copy = copy_pack(pack, self.cloud)
            make_parity(Place(pack, Copy.objects.select_related("target").get(pk=copy.pk)))
        evict(Pack.objects.order_by("pk").last())
        for snapshot in Snapshot.objects.all():
            copy_objects(snapshot, self.cloud)
        assert not scrub_everything().damaged

    def files(self) -> list[Path]:
        """Everything that is stored, in a fixed order."""
        found = [path for root in (root_of(None), root_of(self.cloud)) for path in root.rglob("*") if path.is_file()]
        return sorted(path for path in found if not path.name.startswith("."))

    def flip_some(self, most: int) -> None:
        """Turn a bit in several things at once, read everything as a restore would, scrub, and compare.

        Of a pack, or of an object, only one place is harmed at a time: else both of its copies may lose the same bytes.
        """
        before = {path: path.read_bytes() for path in self.files()}
        things: dict[str, list[Path]] = {}
        for path in before:
            things.setdefault(path.name.partition(".pack")[0], []).append(path)
        harmed = [
            self.chance.choice(things[name]) for name in self.chance.sample(sorted(things), min(most, len(things)))
        ]
        said = "; ".join(self.harm(path, len(before[path])) for path in harmed)
        self.restore(said, healed=False)
        result = scrub_everything()
        run_jobs()
        assert result.damaged, f"not found: {said}"
        self.restore(said, healed=True)
        self.remake_parity()
        after = {path: path.read_bytes() for path in self.files()}
        changed = [path.name for path in {*before, *after} if before.get(path) != after.get(path)]
        assert not changed, f"not healed: {changed} of {said}"
        assert not Snapshot.objects.exclude(state="verified").exists(), said
        assert not Pack.objects.exclude(state="verified").exists(), said
        self.done += len(harmed)

    def harm(self, path: Path, size: int) -> str:
        """Turn one bit of a file; what was done, in words."""
        at = self.chance.randrange(size)
        flip(path, at, self.chance.randrange(8))
        self.by_kind[path.suffix] = self.by_kind.get(path.suffix, 0) + 1
        return f"{path.name} at byte {at}"

    def restore(self, said: str, *, healed: bool) -> None:
        """Every record reads as it was written; before it is healed, one that is nowhere whole is said to be lost."""
        reader = PackReader(self.vault.number)
        for content in self.data:
            try:
                found = reader.read_one(digest(content))
            except RecordLost:
                assert not healed, f"still lost: {said}"
                continue
            assert found.sealed == content, f"a wrong byte was given: {said}"

    def remake_parity(self) -> None:
        """As the tick does once parity was found damaged."""
        for copy in Copy.objects.filter(parity_bytes=0).select_related("target", "pack__vault"):
            make_parity(Place(copy.pack, copy))


AT_ONCE = 14


def run_flips(vault: object, count: int, seed: int | None = None) -> Flips:
    """So many flips, several a round; the seed is printed first, so that a run can be repeated."""
    seed = seed if seed is not None else int(os.environ.get("FLIPS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"flips: seed {seed}", flush=True)
    stage = Flips(vault, random.Random(seed))
    while stage.done < count:
        stage.flip_some(min(AT_ONCE, count - stage.done))
        print(f"flips: {stage.done} bits so far", flush=True)
    assert not scrub_everything().damaged, "not clean in the end"
    print(f"flips: {stage.done} bits turned, all found and healed: {stage.by_kind}", flush=True)
    return stage
