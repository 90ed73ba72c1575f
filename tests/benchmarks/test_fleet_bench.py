"""The fleet's benchmark in small: it runs through, keeps every figure that has a goal, and nothing is lost in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench_fleet import GOALS

CHECKOUT = Path(__file__).resolve().parents[2]
SMALL = (
    "--agents", "6", "--seconds", "2", "--backups", "2", "--mebibytes", "2", "--processes", "1",
    "--tick-machines", "8", "--tick-rounds", "1",
)  # fmt: skip
PROMISED = [key for key, goal in GOALS.items() if goal == 0]


@pytest.mark.slow
def test_the_fleets_benchmark_runs_through_and_keeps_every_figure(tmp_path: Path) -> None:
    output = tmp_path / "fleet.json"
    command = [sys.executable, "-m", "benchmarks.bench_fleet", *SMALL, "--output", str(output)]
    finished = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=500, check=False)
    assert output.exists(), finished.stderr[-3000:]
    cells = {(cell["step"], cell["figure"]): cell for cell in json.loads(output.read_text())["cells"]}
    assert set(GOALS) <= set(cells)
    assert {key: cells[key]["ours"] for key in PROMISED} == dict.fromkeys(PROMISED, 0.0)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert cells["scheduler tick", "plans due at once"]["ours"] == 80
    assert "| scheduler tick | seconds |" in finished.stdout
