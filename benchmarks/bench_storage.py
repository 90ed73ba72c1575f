"""`make bench-storage`: what storage for years costs, into benchmarks/results/latest-storage.json.

    python -m benchmarks.bench_storage                  # the whole: a quarter of an hour, 25 GB of disk
    python -m benchmarks.bench_storage --short          # everything in small, two minutes: no figures to quote
    python -m benchmarks.bench_storage --parts scrub,upload --scale 0.25

Parts, in the order in which they are done:

`marking` (the union of 10,000 snapshots' needs over five million chunks), `lists` (over the same rows: a question of
1,000 ids, and the lists that people see), `reclaiming` (50 snapshots down to 10, against `restic forget --prune`),
`scrub` (against plain reading), `upload` (to a real S3 server, against boto3 alone), `s3restore` (from there alone,
against the local disk).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    peers,
    storage_lists,
    storage_marking,
    storage_reclaiming,
    storage_restoring,
    storage_scrubbing,
    storage_uploading,
)
from benchmarks.measuring import StepFailed
from benchmarks.storage_grounds import Grounds

RESULTS = Path(__file__).resolve().parent / "results" / "latest-storage.json"
RUNS, SHORT = 3, 0.02
Cells = list[dict[str, Any]]
PARTS: dict[str, Callable[[Grounds], Cells]] = {
    "marking": storage_marking.measure,
    "lists": storage_lists.measure,
    "reclaiming": lambda grounds: storage_reclaiming.measure(
        grounds.directory("reclaiming"), grounds.scale, grounds.peer
    ),
    "scrub": storage_scrubbing.measure,
    "upload": storage_uploading.measure,
    "s3restore": storage_restoring.measure,
}


def main() -> int:
    """0: measured, goals met or not; 1: a step failed."""
    given = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    usable, versions, missing = peers.find_peers(["restic"] if "reclaiming" in given.parts else [])
    for sentence in missing:
        print(sentence, file=sys.stderr)
    work = given.root / f"strongroom-bench-storage-{os.getpid()}"
    grounds = Grounds(work, given.scale, given.runs, "restic" if usable else "")
    cells: Cells = []
    try:
        for part in given.parts:
            began = time.monotonic()
            found = [{**one, "part": part} for one in PARTS[part](grounds)]
            cells += found
            print(f"{table(found)}\n{part} took {time.monotonic() - began:.0f} s\n", flush=True)
    except StepFailed as fault:
        print(f"The benchmark failed; {given.results.name} is as it was.\n{fault}", file=sys.stderr)
        return 1
    finally:
        grounds.close()
    for note in grounds.notes:
        print(note)
    save(cells, given, versions, grounds.notes)
    return 0


def read_options() -> argparse.Namespace:
    """What is to be measured; `parts` as a list in their own order."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--parts", default=",".join(PARTS), help="separated by commas")
    options.add_argument("--scale", type=float, default=1.0, help="smaller, to try the harness")
    options.add_argument("--runs", type=int, default=RUNS, help="how often what can be repeated is: medians count")
    options.add_argument("--short", action="store_true", help=f"--scale {SHORT} --runs 1")
    options.add_argument("--root", type=Path, default=Path(os.environ.get("BENCH_ROOT") or tempfile.gettempdir()))
    options.add_argument("--results", type=Path, default=RESULTS)
    given = options.parse_args()
    wanted = {name.strip() for name in given.parts.split(",") if name.strip()}
    if unknown := wanted - set(PARTS):
        options.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if not 0 < given.scale <= 1 or given.runs < 1:
        options.error("--scale is more than 0 and at most 1, and --runs is at least 1")
    given.parts = [name for name in PARTS if name in wanted]
    if given.short:
        given.scale, given.runs = SHORT, 1
    return given


def save(cells: Cells, given: argparse.Namespace, versions: dict[str, str], notes: list[str]) -> None:
    """Write the file; cells of parts that were not measured this time stay, if they are of the same scale."""
    path = given.results
    path.parent.mkdir(parents=True, exist_ok=True)
    former = json.loads(path.read_text()) if path.exists() else {}
    if former.get("scale") != given.scale:
        former = {}
    kept = [cell for cell in former.get("cells", []) if cell.get("part") not in given.parts]
    whole = {"cells": kept + cells, "peers": {**former.get("peers", {}), **versions}, "scale": given.scale,
             "runs": given.runs, "notes": notes}  # fmt: skip
    path.write_text(json.dumps(whole, indent=1) + "\n")
    print(f"{len(cells)} cells are in {path}")


def table(cells: Cells) -> str:
    """The cells as a table. A goal is the most that the ratio may be, or the figure itself where there is no peer."""
    lines = [["corpus", "step", "figure", "ours", "peer", "ratio", "goal", "", "MiB/s"]]
    for cell in cells:
        figures = ["-" if cell[name] is None else f"{cell[name]:g}" for name in ("ours", "peer", "ratio", "goal")]
        lines.append([cell["corpus"], cell["step"], cell["figure"], *figures, verdict(cell), rates(cell)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def verdict(cell: dict[str, Any]) -> str:
    """Whether a goal was met; "" where there is none."""
    if cell["goal"] is None:
        return ""
    reached = cell["ratio"] if cell["ratio"] is not None else cell["ours"]
    return "met" if reached <= cell["goal"] else "MISSED"


def rates(cell: dict[str, Any]) -> str:
    """What was done in a second: ours, the peer's, and the one as a share of the other."""
    if "mib" not in cell or not cell["ours"]:
        return ""
    ours = f"{cell['mib'] / cell['ours']:,.0f}"
    return f"{ours} of {cell['mib'] / cell['peer']:,.0f}: {cell['peer'] / cell['ours']:.0%}" if cell["peer"] else ours


if __name__ == "__main__":
    sys.exit(main())
