"""A snapshot that comes back from a bucket alone, against the same restore with its packs on the local disk.

In turn: packs at home, restore; then the product's own eviction (each copy read back once more, the files unlinked), an
empty read cache, restore; then the packs are brought home again. Before each restore the pages of the packs, or of the
S3 server's files, are dropped from memory. The first tree of each kind is compared with the source.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.comparing import differences
from benchmarks.contenders import fresh_directory
from benchmarks.measuring import MIB, Sample, StepFailed, size_of
from benchmarks.storage_cells import cell, prepare_django
from benchmarks.storage_grounds import Grounds
from benchmarks.storage_reading import forget, told
from benchmarks.storage_stored import Stored, bucket_target, file_of, moved_packs

RATIO = 2.0
"""Seconds to seconds: half of the rate from the disk."""
MEMORY = Path("/dev/shm")
SPARE = 2.0
REMEMBERED = 3.0
"""Seconds: the gateway remembers for two of them where a pack was."""
ME = "benchmarks.storage_restoring"


def measure(grounds: Grounds) -> list[dict[str, Any]]:
    """The cells of this part."""
    store = grounds.stored()
    server = store.bucket()
    store.work_on(ME, "copy")
    room, data = Room(store), server.directory / "data"
    taken: dict[str, list[Sample]] = {"home": [], "away": []}
    try:
        for _ in range(grounds.runs):
            store.work_on(ME, "home")
            taken["home"].append(room.restore("the local packs", grounds, _pack_files))
            store.work_on(ME, "away")
            taken["away"].append(room.restore("the S3 server's files", grounds, lambda _: _files(data)))
    finally:
        room.close()
    wall, cpu = ({place: statistics.median(getattr(one, kind) for one in samples) for place, samples in taken.items()}
                 for kind in ("wall", "cpu"))  # fmt: skip
    corpus, mib = store.moved_corpus, size_of(store.source)
    return [
        cell(corpus, "restore from S3, to the same from the disk", "wall", wall["away"], peer=wall["home"], goal=RATIO,
             mib=mib),
        cell(corpus, "restore from S3, to the same from the disk", "cpu", cpu["away"], peer=cpu["home"]),
    ]  # fmt: skip


class Room:
    """Where restores go, and how one is done. Raises StepFailed when a tree differs, or came from the wrong place."""

    def __init__(self, store: Stored) -> None:
        self.store, self.compared = store, set[str]()
        self.cache = store.platform.home / "cache" / "packs"
        needed = size_of(store.source) * SPARE * MIB
        roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > needed
        self.path = (MEMORY if roomy else store.work) / f"strongroom-restored-{store.platform.process.pid}"

    def restore(self, what: str, grounds: Grounds, files: Callable[[Stored], list[Path]]) -> Sample:
        """Restore the newest snapshot, with nothing that serves it in memory."""
        store = self.store
        shutil.rmtree(self.cache, ignore_errors=True)
        time.sleep(REMEMBERED)
        grounds.notes += told(forget(files(store)), what)
        sample = store.ours.restore(fresh_directory(self.path))
        at_home, cached = len(_pack_files(store)), size_of(self.cache)
        if bool(at_home) == bool(cached):
            raise StepFailed(f"{what}: {at_home} packs were at home, {cached:.0f} MiB came through the read cache.")
        if what not in self.compared:
            self.compared.add(what)
            if different := differences(store.source, store.ours.restored(self.path, store.source)):
                raise StepFailed(f"What was restored from {what} differs:\n{different}")
        return sample

    def close(self) -> None:
        """Remove what was restored."""
        shutil.rmtree(self.path, ignore_errors=True)


def _pack_files(store: Stored) -> list[Path]:
    """The moved packs' files, as far as they are at home."""
    return [Path(path) for path in store.work_on(ME, "files")["files"]]


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


# --- in the platform's Django ------------------------------------------------------------------------------------


def copy(packs: list[Any]) -> None:
    """A good copy of each pack in the bucket."""
    from backup_platform.catalog.leases import pack_lease
    from backup_platform.tiering.copying import copy_to

    target = bucket_target()
    for pack in packs:
        with pack_lease(pack.pk, wait=True) as held:
            if not copy_to(held, target):
                raise StepFailed(f"The copy of pack {pack.pk} is not good.")


def bring_home(packs: list[Any]) -> None:
    """Each pack at home, by the product's own recall."""
    from backup_platform.tiering.recalling import recall

    for pack in packs:
        if not recall(pack.pk):
            raise StepFailed(f"Pack {pack.pk} did not come home.")


def send_away(packs: list[Any]) -> None:
    """Each pack in the bucket only, by the product's own eviction; the hour of grace is over by decree."""
    from django.utils import timezone

    from backup_platform.catalog.leases import pack_lease
    from backup_platform.tiering.evicting import GRACE, evict, unlink_due

    for pack in packs:
        with pack_lease(pack.pk, wait=True) as held:
            if not evict(held, 1):
                raise StepFailed(f"Pack {pack.pk} does not leave.")
    unlink_due(timezone.now() + GRACE + timedelta(minutes=1))
    if any(file_of(pack).exists() for pack in packs):
        raise StepFailed("Some files did not leave.")


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

    first, verb = sys.argv[1:]
    with without_tenant_scope("the benchmark has one tenant"):
        packs = moved_packs(int(first))
    with tenant_scope(packs[0].tenant_id):
        if verb != "files":
            {"copy": copy, "home": bring_home, "away": send_away}[verb](packs)
    print(json.dumps({"files": [str(file_of(pack)) for pack in packs if file_of(pack).exists()]}))


if __name__ == "__main__":
    main()
