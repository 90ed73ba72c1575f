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
    healed: int = 0
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

    def flip_once(self) -> None:
        """Turn one bit somewhere, read everything as a restore would, scrub, and compare."""
        files = self.files()
        before = {path: path.read_bytes() for path in files}
        path = self.chance.choice(files)
        at = self.chance.randrange(len(before[path]))
        flip(path, at, self.chance.randrange(8))
        said = f"{path.name} at byte {at}, flip {self.done}"
        self.restore(said, healed=False)
        result = scrub_everything()
        run_jobs()
        assert result.damaged, f"not found: {said}"
        self.restore(said, healed=True)
        if path.name.endswith(".parity"):
            self.remake_parity()
        after = {each: each.read_bytes() for each in self.files()}
        assert after == before, f"not healed: {said}"
        assert not Snapshot.objects.exclude(state="verified").exists(), said
        assert not Pack.objects.exclude(state="verified").exists(), said
        assert not scrub_everything().damaged, f"not clean again: {said}"
        self.done += 1
        kind = path.suffix
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1

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


def run_flips(vault: object, count: int, seed: int | None = None) -> Flips:
    """So many flips; the seed stands in every message by way of the run's first line."""
    seed = seed if seed is not None else int(os.environ.get("FLIPS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"flips: seed {seed}", flush=True)
    stage = Flips(vault, random.Random(seed))
    for _ in range(count):
        stage.flip_once()
    return stage
