"""Marking at size, by the product's own code: the union of all bitmaps, streamed, and what it leaves of the index."""

from __future__ import annotations

import json
import resource
import statistics
import time
from typing import Any

from benchmarks.storage_cells import cell, inside, prepare_django
from benchmarks.storage_grounds import Grounds

MARK_SECONDS, MARK_MIB = 5.0, 1024.0
ME = "benchmarks.storage_marking"


def measure(grounds: Grounds) -> list[dict[str, Any]]:
    """The cells of this part. Each marking is done by a process of its own."""
    ground = grounds.counted()
    marked = [inside(ground.platform, ME) for _ in range(grounds.runs)]
    wall, cpu, rss = (statistics.median(one[name] for one in marked) for name in ("wall", "cpu", "rss"))
    return [
        cell(ground.corpus, "mark", "wall", wall, goal=MARK_SECONDS),
        cell(ground.corpus, "mark", "cpu", cpu),
        cell(ground.corpus, "mark", "rss", rss, goal=MARK_MIB),
        cell(ground.corpus, "bitmaps", "size", ground.made["bitmap_bytes"] / (1 << 20)),
    ]


# --- in the platform's Django ------------------------------------------------------------------------------------


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


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        print(json.dumps(mark()))


if __name__ == "__main__":
    main()
