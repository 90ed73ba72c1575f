"""Scrub, against reading the same files plainly: how much of what the disk gives does checking use?

Before each turn the packs' pages are dropped from memory, for both alike; who begins changes from run to run. Plain
reading is done with one reader and with as many as the scrub has: the goal is held against the faster one. It is
measured without the start of a process; the whole command has a row of its own, and so has the calendar's way, which
looks at one pack after the other.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.measuring import MIB, StepFailed
from benchmarks.storage_cells import cell, prepare_django
from benchmarks.storage_grounds import Grounds
from benchmarks.storage_reading import forget, read_plainly, told
from benchmarks.storage_stored import file_of, moved_packs

RATIO = 1.25
"""Seconds to seconds: 80 % of the disk's rate."""
ME = "benchmarks.storage_scrubbing"


def measure(grounds: Grounds) -> list[dict[str, Any]]:
    """The cells of this part."""
    store = grounds.stored()
    done = store.work_on(ME, str(grounds.runs))
    grounds.notes += told(done["in_memory"], "the packs that were scrubbed")
    whole = [store.ours.check() for _ in range(grounds.runs)]
    wall = {name: statistics.median(taken) for name, taken in done["wall"].items()}
    plain, mib = min(wall["one reader"], wall["as many readers"]), done["mib"]
    return [
        cell(store.corpus, "scrub, to the faster plain reading", "wall", wall["scrub"], peer=plain, goal=RATIO,
             mib=mib),
        cell(store.corpus, "scrub", "cpu", statistics.median(done["cpu"]["scrub"])),
        cell(store.corpus, "scrub, to one plain reader", "wall", wall["scrub"], peer=wall["one reader"], mib=mib),
        cell(store.corpus, "scrub, to as many plain readers", "wall", wall["scrub"], peer=wall["as many readers"],
             mib=mib),
        cell(store.corpus, "the calendar's jobs, one by one", "wall", wall["jobs"], peer=wall["one reader"], mib=mib),
        cell(store.corpus, "manage.py scrub, with its start", "wall", statistics.median(one.wall for one in whole),
             mib=mib),
        cell(store.corpus, "manage.py scrub", "rss", statistics.median(one.rss for one in whole)),
    ]  # fmt: skip


# --- in the platform's Django ------------------------------------------------------------------------------------


def take_turns(runs: int) -> dict[str, Any]:
    """Every way, `runs` times in turn, each from the disk; seconds of each turn."""
    from backup_platform.catalog.scrubbing import READERS

    packs = moved_packs(0)
    files, size = [file_of(pack) for pack in packs], sum(pack.bytes for pack in packs)
    ways: dict[str, Callable[[], int]] = {
        "scrub": _scrub,
        "one reader": lambda: read_plainly(files, 1),
        "as many readers": lambda: read_plainly(files, READERS),
        "jobs": lambda: _scrub_one_by_one(packs),
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    in_memory, names = 0.0, list(ways)
    for run in range(runs):
        for name in names[run % len(names) :] + names[: run % len(names)]:
            in_memory = max(in_memory, forget(files))
            began, used = time.perf_counter(), time.process_time()
            read = ways[name]()
            wall[name].append(time.perf_counter() - began)
            cpu[name].append(time.process_time() - used)
            if read != size:
                raise StepFailed(f"{name} read {read} bytes of {size}.")
    return {"wall": wall, "cpu": cpu, "in_memory": in_memory, "mib": size / MIB}


def _scrub() -> int:
    from backup_platform.upkeep.scrub_now import scrub_everything

    found = scrub_everything()
    if found.damaged or found.unread:
        raise StepFailed(f"Scrub found faults: {(found.damaged + found.unread)[:3]}")
    return found.bytes


def _scrub_one_by_one(packs: list[Any]) -> int:
    from backup_platform.tenants.scope import tenant_scope
    from backup_platform.upkeep.scrub_packs import scrub_pack

    read = 0
    for pack in packs:
        with tenant_scope(pack.tenant_id):
            looked = scrub_pack(pack.pk)
        if looked.damaged:
            raise StepFailed(f"Scrub found a fault: {looked.said}")
        read += looked.bytes
    return read


def main() -> None:
    prepare_django()
    from backup_platform.tenants.scope import without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        print(json.dumps(take_turns(int(sys.argv[2]))))


if __name__ == "__main__":
    main()
