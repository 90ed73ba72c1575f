"""`make bench-storage`: what storage for years costs, into benchmarks/results/latest-storage.json.

    python -m benchmarks.bench_storage                  # the whole: some twenty minutes, 6 GB of disk
    python -m benchmarks.bench_storage --scale 0.02     # to try the harness: no figures to quote
    python -m benchmarks.bench_storage --parts marking

Parts: `marking` (the union of 10,000 snapshots' needs over five million chunks, and a question of 1,000 ids among
them), `reclaiming` (50 snapshots down to 10, against `restic forget --prune`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import peers, storage_marking, storage_reclaiming
from benchmarks.measuring import StepFailed

RESULTS = Path(__file__).resolve().parent / "results" / "latest-storage.json"
PARTS = {"marking": storage_marking.measure, "reclaiming": storage_reclaiming.measure}


def main() -> int:
    """0: measured, goals met or not; 1: a step failed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--parts", default=",".join(PARTS), help="separated by commas")
    options.add_argument("--scale", type=float, default=1.0, help="smaller, to try the harness")
    options.add_argument("--root", type=Path, default=Path(os.environ.get("BENCH_ROOT") or tempfile.gettempdir()))
    options.add_argument("--results", type=Path, default=RESULTS)
    given = options.parse_args()
    unknown = set(given.parts.split(",")) - set(PARTS)
    if unknown:
        options.error(f"there is no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = given.root / f"strongroom-bench-storage-{os.getpid()}"
    usable, versions, missing = peers.find_peers(["restic"])
    for sentence in missing:
        print(sentence, file=sys.stderr)
    cells: list[dict[str, Any]] = []
    try:
        for part in given.parts.split(","):
            cells += PARTS[part](work / part, given.scale, peer="restic" if usable else "")
            print(table(cells), flush=True)
    except StepFailed as fault:
        print(f"The benchmark failed; {given.results.name} is as it was.\n{fault}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    save(cells, versions, given.results, set(given.parts.split(",")))
    return 0


def save(cells: list[dict[str, Any]], versions: dict[str, str], path: Path, measured: set[str]) -> None:
    """Write the file, keeping the cells of parts that were not measured this time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(path.read_text())["cells"] if path.exists() else []
    names = {(cell["corpus"], cell["step"], cell["figure"]) for cell in cells}
    kept = [cell for cell in kept if (cell["corpus"], cell["step"], cell["figure"]) not in names]
    path.write_text(json.dumps({"cells": kept + cells, "peers": versions}, indent=1) + "\n")
    print(f"{len(cells)} cells of {', '.join(sorted(measured))} are in {path}")


def table(cells: list[dict[str, Any]]) -> str:
    """The cells as a table."""
    lines = [["corpus", "step", "figure", "ours", "peer", "ratio", "goal", ""]]
    for cell in cells:
        reached = cell["ratio"] if cell["ratio"] is not None else cell["ours"]
        verdict = "" if cell["goal"] is None else "met" if reached <= cell["goal"] else "MISSED"
        figures = ["-" if cell[name] is None else f"{cell[name]:g}" for name in ("ours", "peer", "ratio", "goal")]
        lines.append([cell["corpus"], cell["step"], cell["figure"], *figures, verdict])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    sys.exit(main())
