"""50 snapshots of one machine down to the newest 10: ours, and `restic forget --keep-last 10 --prune` in the same run.

Both back the same tree up 50 times, with a part of it rewritten in between. Ours is the whole of it: 40 snapshots
expire, and reclaim marks, condemns, removes, compacts and unlinks. The days for which an expired snapshot can be
brought back are over by decree. It is measured as the platform's worker does it, without the start of a process.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.contenders import fresh_directory
from benchmarks.measuring import StepFailed
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
        before = contenders[0].size()
        ours, alone = _ours(contenders[0])
        after = contenders[0].size()
        theirs = _restic(contenders[1]) if peer else None
        corpus = f"{snapshots} snapshots to {KEPT}"
        return [
            cell(corpus, "expire and reclaim", "wall", ours, peer=theirs, goal=RATIO),
            cell(corpus, "expire and reclaim, compaction apart", "wall", alone, peer=theirs),
            cell(corpus, "store before", "size", before),
            cell(corpus, "store after", "size", after, peer=contenders[1].size() if peer else None),
        ]
    finally:
        for contender in contenders:
            contender.close()


def _write(tree: Path, source: random.Random, numbers: Any, *, fresh: bool = False) -> None:
    if fresh:
        fresh_directory(tree)
    for number in numbers:
        (tree / f"{number:04}.bin").write_bytes(source.randbytes(source.randrange(1 << 16, LARGEST)))


def _ours(ours: Any) -> tuple[float, float]:
    """Seconds from the beginning of the expiry until all files are gone; and until compaction, which is a job apart."""
    done = inside(ours.platform, ME, "reclaim", str(KEPT))
    if done["state"] != "done" or done["retired"] != done["expired"]:
        raise StepFailed(f"The round is {done['state']} ({done['waits_for']}), {done['retired']} snapshots are gone.")
    return float(done["wall"]), float(done["alone"])


def _restic(restic: Any) -> float:
    return float(restic._run("forget", "--keep-last", str(KEPT), "--prune").wall)  # noqa: SLF001


def reclaim(kept: int) -> dict[str, Any]:
    """In the platform's Django, as its worker does it: all but the newest expire, so long ago that nobody can bring
    them back; a round, compaction, and the files of what was rewritten."""
    from django.db import transaction
    from django.utils import timezone

    from backup_platform.catalog.models import Snapshot
    from backup_platform.retention.expiring import expire
    from backup_platform.retention.lifecycle import write_due
    from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
    from backup_platform.upkeep.compacting import compact_vault
    from backup_platform.upkeep.reclaiming import reclaim_vault
    from backup_platform.upkeep.turns import Turn

    with without_tenant_scope("the benchmark has one tenant"):
        old = list(Snapshot.objects.select_related("vault").defer("bitmap", "blocks").order_by("-sequence")[kept:])
    vault, none = old[0].vault, timedelta(0)
    with tenant_scope(vault.tenant_id):
        began = time.perf_counter()
        with transaction.atomic():
            count = expire({"the benchmark": old}, by="benchmark", now=timezone.now() - timedelta(days=4000))
        write_due(vault.tenant_id)
        outcome = reclaim_vault(vault, Turn(), grace=none)
        alone = time.perf_counter() - began
        compact_vault(vault, Turn(), grace=none)
        reclaim_vault(vault, Turn(), begin=False, grace=none)
        wall = time.perf_counter() - began
    found = {
        "wall": wall,
        "alone": alone,
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
