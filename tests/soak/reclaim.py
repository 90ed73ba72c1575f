"""The model of reclaim at length: 2,000 random lives of a vault, of 50 steps each. Part of `make soak`.

    python -m tests.soak.reclaim [--examples 2000] [--steps 50] [--seed N]      # most of an hour

A run that fails prints the shortest life that does; `--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time

TEST = "tests/upkeep/test_reclaim_model.py"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--examples", type=int, default=2_000)
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = options.parse_args()
    os.environ["RECLAIM_MODEL_EXAMPLES"], os.environ["RECLAIM_MODEL_STEPS"] = str(given.examples), str(given.steps)
    import pytest

    print(f"reclaim: {given.examples} lives of {given.steps} steps, seed {given.seed}", flush=True)
    began = time.monotonic()
    # The suite's limit of five minutes is for a test that hangs; this one is long.
    code = pytest.main([TEST, "-q", "-x", f"--hypothesis-seed={given.seed}", "-o", "faulthandler_timeout=0"])
    print(f"reclaim: exit code {int(code)} after {time.monotonic() - began:.0f} s", flush=True)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
