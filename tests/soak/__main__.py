"""`make soak`: backups under hundreds of kills, with an external ledger of acknowledgements as the judge.

SOAK_MINUTES (20) bounds the time of killing; SOAK_SEED names the order of everything that chance decides here.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.stage import running_stage
from tests.soak.fleet import Fleet
from tests.soak.killing import Killer


def main() -> int:
    minutes = float(os.environ.get("SOAK_MINUTES") or 20)
    seed = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(10**6))
    print(f"soak: seed {seed}, {minutes:g} minutes of killing", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="sr-soak-"))
    began = time.monotonic()
    try:
        with running_stage() as stage, Fleet(stage, directory, seed).running() as fleet:
            with Killer(fleet, seed).running() as killer:
                fleet.back_up_for(minutes * 60)
            fleet.settle()
            print(fleet.summary(seed, killer.kills, time.monotonic() - began), flush=True)
            return 1 if fleet.faults else 0
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
