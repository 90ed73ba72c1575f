"""50 snapshots of one machine down to the newest 10: ours, and `restic forget --keep-last 10 --prune` in the same run.

Both back the same tree up 50 times, with a part of it rewritten in between. Ours is the whole of it: 40 snapshots
expire, and reclaim marks, condemns, removes, compacts and unlinks. The days for which an expired snapshot can be
brought back are over by decree. It is measured as in the platform's worker, which has been running for days: without
the start of a process, and with its connections to the database and to Valkey open.

What is compared is not the same work. restic's client reads the snapshots' trees and asks its server for each file
over TLS, since nobody else may know what is needed; our server knows what each snapshot needs without being able to
read any of it, and works beside the files. And restic rewrites until 5 % of a repository are unused, while we rewrite
packs of which less than half is used, and join small ones: hence the sizes, and restic without any rewriting.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.contenders import fresh_directory
from benchmarks.measuring import StepFailed, size_of
from benchmarks.ours import Ours
from benchmarks.peers import make_peer
from benchmarks.storage_cells import cell, inside, own_directory, prepare_django

SNAPSHOTS, KEPT = 50, 10
FILES, LARGEST, REWRITTEN = 400, 2 << 20, 0.04
RATIO = 0.1
ME = "benchmarks.storage_reclaiming"


def measure(work: Path, scale: float, peer: str) -> list[dict[str, Any]]:
    """The cells of this part."""
    own_directory(work)
    tree, snapshots = work / "tree", max(KEPT + 2, int(SNAPSHOTS * min(1.0, scale * 5)))
    contenders = [Ours(work), *([make_peer(peer, work)] if peer else [])]
    source = random.Random(50)
    files = max(20, int(FILES * scale))
    try:
        for contender in contenders:
            contender.open()
        _write(tree, source, range(files), fresh=True)
        for day in range(snapshots):
            for contender in contenders:
                contender.backup(tree)
            _write(tree, source, source.sample(range(files), max(1, int(files * REWRITTEN))))
            print(f"day {day + 1} of {snapshots}", file=sys.stderr, flush=True)
        twin = _twin(contenders[1], work) if peer else None
        contenders += [twin] if twin else []
        before = [contender.size() for contender in contenders]
        ours = _ours(contenders[0])
        theirs = _restic(contenders[1]) if peer else None
        removing = _restic(twin, "--max-unused", "unlimited") if twin else None
        after = [contender.size() for contender in contenders]
        corpus = f"{snapshots} snapshots to {KEPT}"
        return [
            cell(corpus, "expire and reclaim", "wall", ours["wall"], peer=theirs, goal=RATIO),
            cell(corpus, "expire and reclaim, nothing rewritten", "wall", ours["alone"], peer=removing),
            cell(corpus, "store before", "size", before[0], peer=before[1] if peer else None),
            cell(corpus, "store after", "size", after[0], peer=after[1] if peer else None),
            cell(corpus, "store after, nothing rewritten", "size", ours["size"], peer=after[2] if twin else None),
            cell(corpus, "rewritten", "size", ours["rewritten"]),
        ]
    finally:
        for contender in contenders:
            contender.close()


def _write(tree: Path, source: random.Random, numbers: Any, *, fresh: bool = False) -> None:
    if fresh:
        fresh_directory(tree)
    for number in numbers:
        (tree / f"{number:04}.bin").write_bytes(source.randbytes(source.randrange(1 << 16, LARGEST)))


def _twin(restic: Any, work: Path) -> Any:
    """A copy of restic's repository and cache with a server of its own: to be pruned in another way."""
    twin = make_peer("restic", work / "twin")
    twin.open()
    for name in ("repository", "cache"):
        shutil.rmtree(twin.work / name, ignore_errors=True)
        shutil.copytree(restic.work / name, twin.work / name)
    return twin


def _ours(ours: Any) -> dict[str, float]:
    """Seconds from the beginning of the expiry until all files are gone (`wall`), and until compaction (`alone`)."""
    done = inside(ours.platform, ME, "reclaim", str(KEPT))
    if done["state"] != "done" or done["retired"] != done["expired"]:
        raise StepFailed(f"The round is {done['state']} ({done['waits_for']}), {done['retired']} snapshots are gone.")
    return done


def _restic(restic: Any, *more: str) -> float:
    return float(restic._run("forget", "--keep-last", str(KEPT), "--prune", *more).wall)  # noqa: SLF001


def reclaim(kept: int) -> dict[str, Any]:
    """In the platform's Django, as its worker does it: all but the newest expire, so long ago that nobody can bring
    them back; a round, compaction, and the files of what was rewritten."""
    from django.db import transaction
    from django.utils import timezone

    from backup_platform.catalog import stores
    from backup_platform.catalog.models import Snapshot
    from backup_platform.dispatch import queue_length
    from backup_platform.retention.expiring import expire
    from backup_platform.retention.lifecycle import write_due
    from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
    from backup_platform.upkeep.compacting import compact_vault
    from backup_platform.upkeep.reclaiming import reclaim_vault
    from backup_platform.upkeep.turns import Turn

    with without_tenant_scope("the benchmark has one tenant"):
        old = list(Snapshot.objects.select_related("vault").defer("bitmap", "blocks").order_by("-sequence")[kept:])
    vault, none = old[0].vault, timedelta(0)
    queue_length("control")  # a worker has found Valkey, and loaded what talks to it, long before
    with tenant_scope(vault.tenant_id):
        began = time.perf_counter()
        with transaction.atomic():
            count = expire({"the benchmark": old}, by="benchmark", now=timezone.now() - timedelta(days=4000))
        write_due(vault.tenant_id)
        outcome = reclaim_vault(vault, Turn(), grace=none)
        alone = time.perf_counter() - began
        size = size_of(stores.home() / "store", stores.home() / "spool")
        again = time.perf_counter()
        compacted = compact_vault(vault, Turn(), grace=none)
        reclaim_vault(vault, Turn(), begin=False, grace=none)
        wall = alone + time.perf_counter() - again
    found = {
        "wall": wall,
        "alone": alone,
        "size": size,
        "rewritten": compacted.bytes_after / (1 << 20),
        "expired": count,
        "waits_for": outcome.waits_for,
        "state": "not begun",
        "retired": 0,
    }
    if outcome.round is not None:
        found.update(state=outcome.round.state, retired=outcome.round.retired)
    return found


if __name__ == "__main__":
    prepare_django()
    print(json.dumps(reclaim(int(sys.argv[2]))))
