"""A catalogue at size: five million chunks, 10,000 snapshots of 100,000 chunks.

Consecutive snapshots differ by 1 %. The rows are made up: no pack holds these chunks. Numbers are in order of arrival:
each snapshot adds new chunks at the end, and drops as many at random.
"""

from __future__ import annotations

import json
import os
import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.embedded_platform import EmbeddedPlatform
from benchmarks.storage_cells import inside, prepare_django

SNAPSHOTS, NEEDED, SHARE = 10_000, 100_000, 0.01
MACHINE = "made up"
ME = "benchmarks.storage_counted"

CHUNKS_SQL = """
    INSERT INTO catalog_chunk (vault, id, number, pack, "offset", length, uploader, kind, state)
    SELECT %s, sha256(int8send(n)), n, 1 + n / 64, 109 + (n %% 64) * 1000069, 1000000,
           '00000000-0000-0000-0000-000000000000', 1, 0
      FROM generate_series(%s::bigint, %s::bigint) AS n
"""


class Counted:
    """A serving platform with such a catalogue."""

    def __init__(self, work: Path, scale: float) -> None:
        self.platform, self.scale = EmbeddedPlatform(work), scale

    def open(self) -> None:
        """Start it and make the rows. Raises StepFailed."""
        self.platform.start()
        self.platform.wait_for_rest()
        self.made = inside(self.platform, ME, str(self.scale), owner=True)

    @property
    def corpus(self) -> str:
        """What it holds, in words."""
        return f"{self.made['chunks'] / 1e6:g}M chunks, {self.made['snapshots']:,} snapshots"

    def close(self) -> None:
        """Stop and remove."""
        self.platform.stop()


# --- in the platform's Django ------------------------------------------------------------------------------------


def fill(scale: float) -> dict[str, Any]:
    """Make the rows: chunks, a machine, snapshots with their bitmaps."""
    from django.db import connection

    vault, machine = _vault_and_machine()
    snapshots = max(20, int(SNAPSHOTS * scale))
    needed = max(1000, int(NEEDED * min(1.0, scale * 10)))
    change = max(1, int(needed * SHARE / 2))  # one per cent differ: half of it new, half of it gone
    size = _fill_snapshots(vault, machine, snapshots, needed, change)
    chunks = needed + change * (snapshots - 1)
    with connection.cursor() as cursor:
        for start in range(0, chunks, 250_000):
            cursor.execute(CHUNKS_SQL, [vault.number, start, min(start + 250_000, chunks) - 1])
        cursor.execute("UPDATE vaults_vault SET next_number = %s WHERE id = %s", [chunks, vault.pk])
        cursor.execute("VACUUM ANALYZE catalog_chunk")
        cursor.execute("VACUUM ANALYZE catalog_snapshot")
    return {"chunks": chunks, "snapshots": snapshots, "bitmap_bytes": size}


def _vault_and_machine() -> tuple[Any, Any]:
    from django.utils import timezone

    from backup_platform.fleet.models import Machine
    from backup_platform.vaults.models import Vault

    vault = Vault.objects.get()
    machine = Machine.objects.create(
        tenant_id=vault.tenant_id, vault=vault, name=MACHINE, identity_hash=os.urandom(32), identity_key=b"-",
        reading_key=b"-", certificate=b"", certificate_until=timezone.now() + timedelta(days=90), record=b"-",
    )  # fmt: skip
    return vault, machine


def _fill_snapshots(vault: Any, machine: Any, snapshots: int, needed: int, change: int) -> int:
    from django.utils import timezone
    from pyroaring import BitMap64

    from backup_platform.catalog.models import Snapshot

    source, first = random.Random(71_530), timezone.now() - timedelta(seconds=snapshots)
    numbers, bitmap = list(range(needed)), BitMap64(range(needed))
    rows, size, next_number = [], 0, needed
    for sequence in range(1, snapshots + 1):
        kept = BitMap64(bitmap)
        kept.run_optimize()
        data = kept.serialize()
        size += len(data)
        rows.append(_snapshot(vault, machine, sequence, data, needed, first + timedelta(seconds=sequence)))
        if len(rows) == 100 or sequence == snapshots:
            Snapshot.objects.bulk_create(rows)
            rows.clear()
        for place in source.sample(range(needed), change):
            bitmap.discard(numbers[place])
            bitmap.add(next_number)
            numbers[place] = next_number
            next_number += 1
    return size


def _snapshot(vault: Any, machine: Any, sequence: int, bitmap: bytes, needed: int, at: Any) -> Any:
    from uuid import uuid4

    from backup_platform.catalog.models import Snapshot, SnapshotState

    return Snapshot(
        id=uuid4(), tenant_id=vault.tenant_id, vault=vault, machine=machine, sequence=sequence,
        state=SnapshotState.VERIFIED, statement=b"-", statement_digest=os.urandom(32), root_hash=bytes(32),
        root_bytes=1, recipients=b"-", blocks=bytes(32), machine_time=at, received_at=at, verified_at=at,
        bitmap=bitmap, cardinality=needed, stored_bytes=needed * 1_000_000,
        statistics={"bytes": needed * 2_000_000, "bytes_sent": needed * 10_000, "files": needed, "duration_s": 60.0},
    )  # fmt: skip


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        print(json.dumps(fill(float(sys.argv[1]))))


if __name__ == "__main__":
    main()
