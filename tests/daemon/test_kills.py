"""Killed at random points, machines go on: STRONGROOM_KILLS says how often (3).

STRONGROOM_KILLS=50 pytest tests/daemon/test_kills.py -o faulthandler_timeout=0     # some minutes
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.daemons import (
    WAIT,
    ask_for_backup,
    daemon_of,
    environment,
    lines_of,
    machine_of,
    until,
    wait_for_state,
)
from tests.end_to_end.stage import Agent, World
from tests.end_to_end.trees import describe
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
KILLS = int(os.environ.get("STRONGROOM_KILLS", "3"))
SEED = int(os.environ.get("STRONGROOM_SEED", "4"))
SLOW = [{"days": [0, 1, 2, 3, 4, 5, 6], "from": "00:00", "until": "24:00", "kbit_per_second": 800}]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    rng = random.Random(SEED)
    for number in range(60):
        path = top / f"d{number % 5}" / f"file-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(60_000)))
    (top / "large").write_bytes(rng.randbytes(6_000_000))
    return top


def start_backup(agent: Agent, source: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "agents", "backup", str(source), "--no-wait", "--json", "--limit-upload", "16000"]
    return subprocess.Popen(command, env=environment(agent), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_backup_that_is_killed_again_and_again_ends_complete(world: World, source: Path, tmp_path: Path):
    agent, rng, done = world.agent(), random.Random(SEED), 0
    for _ in range(KILLS):
        process = start_backup(agent, source)
        time.sleep(rng.uniform(0.2, 5.0))  # the point of it: any moment, from before the first byte to after the last
        process.kill()
        process.communicate()
        done += process.returncode == 0
    final = start_backup(agent, source)
    said, complaints = final.communicate(timeout=WAIT)
    assert final.returncode == 0, complaints
    summary = json.loads(said.splitlines()[-1])
    assert summary["files"] == 61
    assert agent.run("restore", "latest", "--target", tmp_path / "target").code == 0
    assert describe(tmp_path / "target" / source.relative_to("/")) == describe(source)


def test_daemon_that_is_killed_again_and_again_reports_its_job_once(world: World, source: Path):
    agent, rng = world.agent(), random.Random(SEED)
    job_id = ask_for_backup(
        world,
        machine_of(world),
        selection_sources=[str(source)],
        limits_bandwidth=[{**SLOW[0], "kbit_per_second": 4000}],
    )
    for _ in range(KILLS):
        with_daemon = daemon_without_end(agent)
        time.sleep(rng.uniform(0.5, 4.0))
        with_daemon.kill()
    with daemon_of(agent) as daemon:
        job = wait_for_state(job_id, "done", "failed", daemon=daemon)
        assert job.state == "done", (job.last_error, lines_of(job_id), daemon.said())


def daemon_without_end(agent: Agent):
    """A daemon whose jobs are left alone when it is killed."""
    from tests.daemon.daemons import Daemon

    return Daemon(agent)


def test_backup_and_report_survive_a_network_that_goes_away(world: World, source: Path):
    agent = world.agent()
    with Proxy((world.gateway.host, world.gateway.port)).running() as proxy:
        machine = json.loads((agent.home / "machine.json").read_text())
        (agent.home / "machine.json").write_text(json.dumps({**machine, "port": proxy.port}))
        settings: dict[str, Any] = {
            "selection_sources": [str(source)],
            "limits_bandwidth": [{**SLOW[0], "kbit_per_second": 8000}],
        }
        with daemon_of(agent) as daemon:
            job_id = ask_for_backup(world, machine_of(world), **settings)
            wait_for_state(job_id, "running", daemon=daemon)
            for _ in range(2):
                time.sleep(1)
                proxy.cut()
            job = wait_for_state(job_id, "done", "failed", daemon=daemon)
            assert (job.state, job.attempts) == ("done", 1), (job.last_error, lines_of(job_id), daemon.said())
            until(lambda: daemon.said().count("connected to") >= 2, daemon.said)
