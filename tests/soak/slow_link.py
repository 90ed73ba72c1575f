"""200 MiB over a link of 2 Mbit/s that is cut every 30 seconds. About a quarter of an hour.

python -m tests.soak.slow_link [MEBIBYTES]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.proxy import Proxy
from tests.faults.stage import MIB, ended, make_files, running_stage

RATE = 2_000_000 / 8
CUT_EVERY = 30.0


def main(mebibytes: int) -> None:
    directory = Path(tempfile.mkdtemp(prefix="sr-slow-"))
    try:
        with running_stage() as stage, Proxy(stage.gateway).running() as proxy:
            machine, source = stage.machine("alpha"), make_files(directory / "source", mebibytes, 2)
            machine.dial("127.0.0.1", proxy.port)
            proxy.rate = RATE
            proxy.cut_every(CUT_EVERY)
            began = time.monotonic()
            said = ended(machine.start("backup", source, "--no-wait", "--json"), 20 * mebibytes + 300)
            assert said.code == 0, said
            seconds, sent, cuts = time.monotonic() - began, proxy.up, proxy.cuts
            machine.dial(*stage.gateway)
            machine.restores_equal(source, directory / "target")
            judged = stage.check_ledgers()
        print(
            f"slow link: {mebibytes} MiB in {seconds / 60:.1f} minutes over 2 Mbit/s, {cuts} cuts, {sent / MIB:.1f} MiB"
            f" sent ({100 * (sent / (mebibytes * MIB) - 1):.1f} % more than the tree); restored equal;"
            f" {judged['records']} records acknowledged, {len(judged['lost'])} lost"
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
