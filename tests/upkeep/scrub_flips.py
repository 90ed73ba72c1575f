"""Random bit flips over everything that is stored: each is found, no reader gets a wrong byte, each is healed.

One run is one seed. What stands where: three packs, each at a target with parity beside it (a directory or a bucket),
two of them here too; the snapshots' objects and the vault's records here and there.
"""

from __future__ import annotations

import os
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backup_platform.catalog.errors import RecordLost
from backup_platform.catalog.models import Copy, Pack, Snapshot
from backup_platform.catalog.reading import PackReader
from backup_platform.targets.models import Target
from backup_platform.upkeep.heal_places import Place
from backup_platform.upkeep.parity_making import make_parity
from backup_platform.upkeep.scrub_now import scrub_everything
from tests.catalog.stage import Backup, contents, digest, make_machine, run_jobs
from tests.tiering.stage import forget_cache
from tests.upkeep.scrub_stage import copy_objects, copy_pack, evict, make_target, root_of


class Shelf(ABC):
    """Where things lie that a bit may turn in."""

    @abstractmethod
    def names(self) -> list[str]:
        """The keys of everything that is stored there."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """What lies there."""

    @abstractmethod
    def replace(self, name: str, data: bytes) -> None:
        """Put other bytes there, as rot does: past everything that guards it."""


@dataclass(frozen=True)
class Folder(Shelf):
    """A directory."""

    root: Path

    def names(self) -> list[str]:
        files = (path for path in self.root.rglob("*") if path.is_file() and not path.name.startswith("."))
        return [str(path.relative_to(self.root)) for path in files]

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def replace(self, name: str, data: bytes) -> None:
        (self.root / name).chmod(0o600)
        (self.root / name).write_bytes(data)


@dataclass(frozen=True)
class Bucket(Shelf):
    """A bucket; it makes new checksums of what is put there, so it vouches for the wrong bytes itself."""

    client: Any
    bucket: str

    def names(self) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def read(self, name: str) -> bytes:
        return bytes(self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read())

    def replace(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=name, Body=data)


MakeCloud = Callable[[], tuple[Target, Shelf]]
"""Makes the target, once the backups are done."""
Thing = tuple[int, str]
"""The number of a shelf, and a name there."""


@dataclass
class Flips:
    """The stage, and what came of it so far. Without `make_cloud`, the target is a directory."""

    vault: object
    chance: random.Random
    make_cloud: MakeCloud | None = None
    data: list[bytes] = field(default_factory=list)
    done: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        backup = Backup(make_machine(self.vault, "alpha"))
        for _ in range(3):
            self.data += contents(4, 3000)
            backup.run(*[self.data[i : i + 4] for i in range(0, len(self.data), 4)])
            run_jobs()
        self.cloud, shelf = (self.make_cloud or self.make_directory)()
        self.shelves = [Folder(root_of(None)), shelf]
        for pack in Pack.objects.order_by("pk"):
            copy = copy_pack(pack, self.cloud)
            make_parity(Place(pack, Copy.objects.select_related("target").get(pk=copy.pk)))
        evict(Pack.objects.order_by("pk").last())
        for snapshot in Snapshot.objects.all():
            copy_objects(snapshot, self.cloud)
        assert not scrub_everything().damaged

    def make_directory(self) -> tuple[Target, Shelf]:
        """A target on this host."""
        cloud = make_target(self.vault, "cloud", parity_percent=10)
        return cloud, Folder(root_of(cloud))

    def stored(self) -> dict[Thing, bytes]:
        """Everything that is stored, in a fixed order."""
        things = sorted((at, name) for at, shelf in enumerate(self.shelves) for name in shelf.names())
        return {(at, name): self.shelves[at].read(name) for at, name in things}

    def flip_some(self, most: int) -> None:
        """Turn a bit in several things at once, read everything as a restore would, scrub, and compare.

        Of a pack, or of an object, only one place is harmed at a time: else both of its copies may lose the same bytes.
        """
        before = self.stored()
        things: dict[str, list[Thing]] = {}
        for thing in before:
            things.setdefault(Path(thing[1]).name.partition(".pack")[0], []).append(thing)
        harmed = [
            self.chance.choice(things[name]) for name in self.chance.sample(sorted(things), min(most, len(things)))
        ]
        said = "; ".join(self.harm(thing, before[thing]) for thing in harmed)
        self.restore(said, healed=False)
        result = scrub_everything()
        run_jobs()
        assert result.damaged, f"not found: {said}"
        assert not result.unread, f"not read: {result.unread}"
        self.restore(said, healed=True)
        self.remake_parity()
        after = self.stored()
        changed = [name for at, name in {*before, *after} if before.get((at, name)) != after.get((at, name))]
        assert not changed, f"not healed: {changed} of {said}"
        assert not Snapshot.objects.exclude(state="verified").exists(), said
        assert not Pack.objects.exclude(state="verified").exists(), said
        self.done += len(harmed)

    def harm(self, thing: Thing, data: bytes) -> str:
        """Turn one bit of a thing; what was done, in words."""
        (shelf, name), at = thing, self.chance.randrange(len(data))
        turned = bytes([data[at] ^ (1 << self.chance.randrange(8))])
        self.shelves[shelf].replace(name, data[:at] + turned + data[at + 1 :])
        kind = Path(name).suffix
        self.by_kind[kind] = self.by_kind.get(kind, 0) + 1
        return f"{name} at byte {at} in place {shelf}"

    def restore(self, said: str, *, healed: bool) -> None:
        """Every record reads as it was written; before it is healed, one that is nowhere whole is said to be lost."""
        forget_cache()
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


def run_flips(vault: object, count: int, seed: int | None = None, make_cloud: MakeCloud | None = None) -> Flips:
    """So many flips, several a round; the seed is printed first, so that a run can be repeated."""
    seed = seed if seed is not None else int(os.environ.get("FLIPS_SEED") or random.SystemRandom().randrange(10**6))
    print(f"flips: seed {seed}", flush=True)
    stage = Flips(vault, random.Random(seed), make_cloud)
    while stage.done < count:
        stage.flip_some(min(AT_ONCE, count - stage.done))
        print(f"flips: {stage.done} bits so far", flush=True)
    assert not scrub_everything().damaged, "not clean in the end"
    print(f"flips: {stage.done} bits turned, all found and healed: {stage.by_kind}", flush=True)
    return stage
