"""The short form of `tests/soak/mutations.py`, in a process of its own, because it bounds that process's memory."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.platform.conftest import REPOSITORY

COUNT = 20_000


def test_mutated_input_brings_only_documented_errors_and_no_hang_and_little_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak.mutations", "--count", str(COUNT), "--seed", "1"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{COUNT:,} inputs" in done.stdout
    assert "0 undocumented errors, 0 hangs" in done.stdout
