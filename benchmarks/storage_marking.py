"""Marking at size: five million chunks, 10,000 snapshots of 100,000 chunks, of which consecutive ones differ by 1 %.

The rows are made up (no pack holds these chunks), the marking is the product's own: the union of all bitmaps, streamed,
and what it leaves of the index. Numbers are in order of arrival: each snapshot adds new chunks at the end, and drops as
many at random.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.embedded_platform import EmbeddedPlatform
from benchmarks.storage_cells import cell, inside, own_directory, prepare_django

SNAPSHOTS, NEEDED, SHARE = 10_000, 100_000, 0.01
QUESTIONS, IDS = 200, 1_000
MARK_SECONDS, MARK_MIB, QUESTION_SECONDS = 5.0, 1024.0, 0.02
ME = "benchmarks.storage_marking"

CHUNKS_SQL = """
    INSERT INTO catalog_chunk (vault, id, number, pack, "offset", length, uploader, kind, state)
    SELECT %s, sha256(int8send(n)), n, 1 + n / 64, 109 + (n %% 64) * 1000069, 1000000,
           '00000000-0000-0000-0000-000000000000', 1, 0
      FROM generate_series(%s::bigint, %s::bigint) AS n
"""


def measure(work: Path, scale: float, peer: str) -> list[dict[str, Any]]:
    """The cells of this part."""
    platform = EmbeddedPlatform(own_directory(work))
    try:
        platform.start()
        platform.wait_for_rest()
        made = inside(platform, ME, "fill", str(scale))
        corpus = f"{made['chunks'] / 1e6:g}M chunks, {made['snapshots']:,} snapshots"
        marked = inside(platform, ME, "mark")
        asked = inside(platform, ME, "ask")
        return [
            cell(corpus, "mark", "wall", marked["wall"], goal=MARK_SECONDS),
            cell(corpus, "mark", "cpu", marked["cpu"]),
            cell(corpus, "mark", "rss", marked["rss"], goal=MARK_MIB),
            cell(corpus, "bitmaps", "size", made["bitmap_bytes"] / (1 << 20)),
            cell(corpus, f"question of {IDS:,} ids, median", "wall", asked["median"], goal=QUESTION_SECONDS),
            cell(corpus, f"question of {IDS:,} ids, 99 %", "wall", asked["p99"]),
        ]
    finally:
        platform.stop()


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
        cursor.execute("ANALYZE catalog_snapshot")
    return {"chunks": chunks, "snapshots": snapshots, "bitmap_bytes": size}


def _vault_and_machine() -> tuple[Any, Any]:
    from datetime import timedelta

    from django.utils import timezone

    from backup_platform.fleet.models import Machine
    from backup_platform.vaults.models import Vault

    vault = Vault.objects.get()
    machine = Machine.objects.create(
        tenant_id=vault.tenant_id, vault=vault, name="made up", identity_hash=os.urandom(32), identity_key=b"-",
        reading_key=b"-", certificate=b"", certificate_until=timezone.now() + timedelta(days=90), record=b"-",
    )  # fmt: skip
    return vault, machine


def _fill_snapshots(vault: Any, machine: Any, snapshots: int, needed: int, change: int) -> int:
    from uuid import uuid4

    from django.utils import timezone
    from pyroaring import BitMap64

    from backup_platform.catalog.models import Snapshot, SnapshotState

    source = random.Random(71_530)
    numbers, rows, size, next_number, now = list(range(needed)), [], 0, needed, timezone.now()
    for sequence in range(1, snapshots + 1):
        bitmap = BitMap64(numbers)
        bitmap.run_optimize()
        data = bitmap.serialize()
        size += len(data)
        rows.append(
            Snapshot(
                id=uuid4(),
                tenant_id=vault.tenant_id,
                vault=vault,
                machine=machine,
                sequence=sequence,
                state=SnapshotState.VERIFIED,
                statement=b"-",
                statement_digest=os.urandom(32),
                root_hash=bytes(32),
                root_bytes=1,
                recipients=b"-",
                blocks=bytes(32),
                machine_time=now,
                received_at=now,
                verified_at=now,
                bitmap=data,
                cardinality=needed,
                stored_bytes=needed,
            )
        )
        if len(rows) == 100 or sequence == snapshots:
            Snapshot.objects.bulk_create(rows)
            rows.clear()
        for place in source.sample(range(needed), change):
            numbers[place] = next_number
            next_number += 1
    return size


def mark() -> dict[str, Any]:
    """The product's marking: the union, and the numbers of the index that it does not name."""
    from backup_platform.catalog.chunk_index import ChunkState
    from backup_platform.upkeep.chunk_numbers import numbers_between, spans
    from backup_platform.upkeep.marking import Union
    from backup_platform.vaults.models import Vault

    vault = Vault.objects.get()
    began, cpu = time.perf_counter(), time.process_time()
    union = Union(vault)
    union.catch_up()
    unneeded = 0
    for start, end in spans(0, vault.next_number):
        unneeded += len(numbers_between(vault.number, start, end, [ChunkState.LIVE]) - union.numbers)
    return {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "union": len(union.numbers),
        "unneeded": unneeded,
    }


def ask() -> dict[str, Any]:
    """Questions which of 1,000 ids are missing, as an agent asks them: half are there, spread over the whole index."""
    import hashlib

    from backup_platform.catalog.present import missing_ids
    from backup_platform.vaults.models import Vault

    vault, source, taken = Vault.objects.get(), random.Random(7), []
    for _ in range(QUESTIONS):
        there = [source.randrange(vault.next_number).to_bytes(8, "big") for _ in range(IDS // 2)]
        ids = [hashlib.sha256(number).digest() for number in there] + [os.urandom(32) for _ in range(IDS // 2)]
        began = time.perf_counter()
        missing = missing_ids(vault.number, ids)
        taken.append(time.perf_counter() - began)
        if len(missing) != IDS // 2:
            raise SystemExit(f"{len(missing)} ids are missing, where {IDS // 2} should be")
    taken.sort()
    return {"median": statistics.median(taken), "p99": taken[int(len(taken) * 0.99) - 1]}


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        verb, *rest = sys.argv[1:]
        print(json.dumps({"fill": lambda: fill(float(rest[0])), "mark": mark, "ask": ask}[verb]()))


if __name__ == "__main__":
    main()
