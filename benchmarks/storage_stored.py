"""A store with real packs: two trees that an agent backed up to a whole platform, and a bucket when asked for.

The trees are random bytes, so that packs are as large as what is in them. The first is only there to be read; the packs
of the second, which `latest` names, are those that are copied to the bucket and come back from there.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contenders import fresh_directory
from benchmarks.corpora import write_random
from benchmarks.measuring import MIB, StepFailed
from benchmarks.ours import Ours
from benchmarks.storage_cells import inside

if TYPE_CHECKING:
    from backup_platform.embedded.demonstration.bucket import BucketServer

FILES, MOVED_FILES, FILE_BYTES = 32, 16, 64 * MIB
SMALLEST = MIB
TARGET = "benchmark"
PLACE_SECONDS = 120
UNPLACED = "SELECT count(*) FROM catalog_pack WHERE state <> 'verified' OR place <> 'target'"


class Stored:
    """Ours, with its packs verified and in the home directory."""

    def __init__(self, work: Path, scale: float) -> None:
        self.work, self.scale = work, scale
        self.ours = Ours(work)
        self.platform = self.ours.platform
        self.server: BucketServer | None = None

    def open(self) -> None:
        """Start the platform, and back both trees up. Raises StepFailed."""
        self.ours.open()
        first, self.source = self.work / "first", self.work / "second"
        self._back_up(first, FILES, 0)
        self.first_moved = 1 + int(self.platform.ask("SELECT coalesce(max(id), 0) FROM catalog_pack"))
        self._back_up(self.source, MOVED_FILES, FILES)
        self._wait_until_placed()
        self.moved_mib = self._mib(self.first_moved)
        self.all_mib = self._mib(0)

    @property
    def corpus(self) -> str:
        """What it holds, in words."""
        return f"{self.all_mib / 1024:.2g} GiB of packs"

    @property
    def moved_corpus(self) -> str:
        """The part that goes to the bucket, in words."""
        return f"{self.moved_mib:,.0f} MiB of packs"

    def bucket(self) -> BucketServer:
        """A serving S3 server with an empty bucket, which is the platform's target `TARGET`, tried out by it."""
        if self.server is None:
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "backup_platform.settings.embedded")
            from backup_platform.embedded.demonstration.bucket import BUCKET, REGION, BucketServer
            from backup_platform.embedded.demonstration.bucket import StepFailed as NotStarted

            server = self.server = BucketServer(self.work / "s3")
            try:
                server.start()
            except NotStarted as fault:
                raise StepFailed(str(fault)) from fault
            self.platform.environment.update(server.credentials)
            place = ["--endpoint", server.url, "--region", REGION, "--bucket", BUCKET, "--allow-private"]
            self.platform.manage("create_target", TARGET, "--kind", "s3", *place)
        return self.server

    def work_on(self, module: str, *arguments: str) -> dict[str, Any]:
        """Run a module's own code in the platform's Django, told where the packs begin that may be moved."""
        return inside(self.platform, module, str(self.first_moved), *arguments)

    def close(self) -> None:
        """Stop and remove all of it."""
        if self.server is not None:
            self.server.stop()
        self.ours.close()

    def _back_up(self, tree: Path, files: int, first: int) -> None:
        fresh_directory(tree)
        for number in range(first, first + files):
            path = tree / f"clip-{number:02}.bin"
            write_random(path, random.Random(52_000 + number), max(SMALLEST, int(FILE_BYTES * self.scale)))
        self.ours.backup(tree)

    def _wait_until_placed(self) -> None:
        """A pack moves from the spool to the home directory a moment after it was verified."""
        end = time.monotonic() + PLACE_SECONDS
        while self.platform.ask(UNPLACED):
            if time.monotonic() > end:
                raise StepFailed(f"After {PLACE_SECONDS} s some packs are not in the home directory.")
            time.sleep(0.1)
        self.platform.wait_for_rest()

    def _mib(self, first: int) -> float:
        return float(self.platform.ask("SELECT sum(bytes) FROM catalog_pack WHERE id >= %s", first)) / MIB


# --- in the platform's Django ------------------------------------------------------------------------------------


def moved_packs(first: int) -> list[Any]:
    """The packs that are moved, in the order in which they came."""
    from backup_platform.catalog.models import Pack

    return list(Pack.objects.select_related("vault").filter(pk__gte=first).order_by("pk"))


def file_of(pack: Any) -> Path:
    """Where a pack's file is, or would be, in the home directory."""
    from backup_platform.catalog import stores

    return stores.home() / "store" / stores.pack_key(pack.tenant_id, pack.vault_id, pack.uid)


def bucket_target() -> Any:
    """The row of the bucket, which is the platform's own."""
    from backup_platform.targets.models import Target
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("a shared target belongs to no tenant"):
        return Target.objects.get(name=TARGET)
