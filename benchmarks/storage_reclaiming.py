"""50 snapshots of one machine down to the newest 10: ours, and `restic forget --keep-last 10 --prune` in the same run.

Both back the same tree up 50 times, with a part of it rewritten in between. Ours is the whole of it: 40 snapshots
expire, and `manage.py reclaim` marks, condemns, removes, compacts and unlinks. The days for which an expired snapshot
can be brought back are over by decree.
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
        ours = _ours(contenders[0])
        after = contenders[0].size()
        theirs = _restic(contenders[1]) if peer else None
        corpus = f"{snapshots} snapshots to {KEPT}"
        return [
            cell(corpus, "expire and reclaim", "wall", ours, peer=theirs, goal=RATIO),
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


def _ours(ours: Any) -> float:
    """Seconds from the beginning of the expiry until the files are gone."""
    began = time.perf_counter()
    expired = inside(ours.platform, ME, "expire", str(KEPT))
    printed = ours.platform.manage("reclaim", "--grace", "0", "--json")
    took = time.perf_counter() - began
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    round_ = next(line for line in lines if line["message_type"] == "vault")["round"]
    if round_["state"] != "done" or round_["retired"] != expired["expired"]:
        raise StepFailed(f"The round is {round_['state']}, and {round_['retired']} snapshots were retired.")
    return took


def _restic(restic: Any) -> float:
    return float(restic._run("forget", "--keep-last", str(KEPT), "--prune").wall)  # noqa: SLF001


def expire(kept: int) -> dict[str, Any]:
    """In the platform's Django: all but the newest expire, so long ago that nobody can bring them back."""
    from django.db import transaction
    from django.utils import timezone

    from backup_platform.catalog.models import Snapshot
    from backup_platform.retention.expiring import expire as let_expire
    from backup_platform.tenants.scope import tenant_scope, without_tenant_scope

    with without_tenant_scope("the benchmark has one tenant"):
        old = list(Snapshot.objects.defer("bitmap", "blocks").order_by("-sequence")[kept:])
    with tenant_scope(old[0].tenant_id), transaction.atomic():
        count = let_expire({"the benchmark": old}, by="benchmark", now=timezone.now() - timedelta(days=4000))
    return {"expired": count}


if __name__ == "__main__":
    prepare_django()
    print(json.dumps(expire(int(sys.argv[2]))))
