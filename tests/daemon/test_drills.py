"""Drills that the platform asks for, done by a real daemon: proven, failed in words, cleaned up after."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import pytest

from agents.daemon.children import progress_text
from agents.daemon.drill_words import of_drill
from agents.daemon.job_plan import plan_drill
from agents.daemon.job_records import JobRecords
from agents.daemon.work import Work
from agents.errors import Refused
from agents.state import AgentHome
from backup_platform.catalog.models import Snapshot
from backup_platform.fleet.models import Machine
from backup_platform.jobs.drills import request_drill
from backup_platform.jobs.errors import JobRefused
from backup_platform.tenants.scope import without_tenant_scope
from tests.daemon.daemons import daemon_of, machine_of, wait_for_state
from tests.end_to_end.stage import Agent, World
from tests.end_to_end.test_drilling import rot

FILE = Path("/job.json")
SNAPSHOT = "ab" * 16


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    for number in range(3):
        (top / f"secret-name-{number}").write_bytes(random.Random(number).randbytes(1 << 20))
    return top


@pytest.fixture
def agent(world: World, source: Path) -> Agent:
    agent = world.agent()
    assert agent.run("backup", source, "--no-wait").code == 0
    return agent


def snapshot_of(machine: Machine) -> Snapshot:
    with without_tenant_scope("test"):
        return Snapshot.objects.get(machine=machine)


def ask(world: World) -> UUID:
    machine = machine_of(world)
    job_id = request_drill(machine, snapshot_of(machine).pk, by="tests")
    assert job_id is not None
    return job_id


@pytest.mark.django_db(transaction=True)
def test_drill_of_the_platform_proves_the_snapshot_and_tells_figures_only(world: World, agent: Agent):
    with daemon_of(agent) as daemon:
        job = wait_for_state(ask(world), "done", "failed", "warnings", daemon=daemon)
        assert job.state == "done", (job.last_error, daemon.said())
    assert (job.counts["files"], job.counts["faults"], job.counts["bytes"]) == (3, 0, 3 << 20)
    assert "seconds" in job.counts
    assert snapshot_of(machine_of(world)).proven_at is not None
    assert "secret-name" not in str((job.counts, job.progress, job.spec))
    assert not (agent.home / "drills").exists()


@pytest.mark.django_db(transaction=True)
def test_drill_that_meets_damage_fails_and_says_so(world: World, agent: Agent):
    rot(world)
    with daemon_of(agent) as daemon:
        job = wait_for_state(ask(world), "done", "failed", "warnings", daemon=daemon)
    assert job.state == "failed"
    assert "did not come back as they were saved" in job.last_error
    assert "scrub" in job.advice
    assert job.counts["damaged"] >= 1
    assert snapshot_of(machine_of(world)).proven_at is None
    assert not (agent.home / "drills").exists()


def leave(home: AgentHome) -> Path:
    left = home.path / "drills"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"half a file")
    return left


def test_what_a_killed_drill_has_left_goes_with_its_process(tmp_path: Path):
    home = AgentHome(tmp_path / "home")
    home.prepare()
    JobRecords(home.path).add(bytes(16), "lease", "drill", {"snapshot": SNAPSHOT})
    work = Work(home)
    left = leave(home)
    assert work.look()
    assert not left.exists()
    (_, told) = next(iter(work.reports()))
    assert told.outcome == "temporary"


def test_what_a_killed_drill_has_left_goes_when_the_daemon_begins(tmp_path: Path):
    home = AgentHome(tmp_path / "home")
    home.prepare()
    left = leave(home)
    with home.locked("drill.lock"):
        Work(home)
        assert left.exists(), "somebody is at work there"
    Work(home)
    assert not left.exists()


@pytest.mark.django_db(transaction=True)
def test_machine_has_one_drill_at_a_time_and_a_write_only_one_has_none(world: World, agent: Agent, source: Path):
    assert ask(world)
    machine = machine_of(world)
    assert request_drill(machine, snapshot_of(machine).pk, by="tests") is None
    writer = world.agent("writer", write_only=True)
    assert writer.run("backup", source, "--no-wait").code == 0
    silent = machine_of(world, "writer")
    with pytest.raises(JobRefused, match=r"cannot drill.*--kit DIR --machine writer"):
        request_drill(silent, snapshot_of(silent).pk, by="tests")
    with pytest.raises(JobRefused, match="Choose another"):
        request_drill(machine, snapshot_of(silent).pk, by="tests")


def test_sample_of_a_job_is_bounded_by_the_machine():
    (command,) = plan_drill({"snapshot": SNAPSHOT, "files": 10**9, "mib": -4}, FILE).commands
    assert "--files=1000" in command
    assert "--mib=1" in command
    assert command[-2:] == ["--", SNAPSHOT]


@pytest.mark.parametrize("snapshot", ["", "latest", "--kit=/", "../x", 7, None])
def test_drill_without_a_snapshots_id_is_refused(snapshot: object):
    with pytest.raises(Refused):
        plan_drill({"snapshot": snapshot}, FILE)


@pytest.mark.parametrize(
    ("summary", "wanted"),
    [
        ({"files": 3, "faults": 2, "damaged": 1}, "1 of 5 files"),
        ({"files": 3, "faults": 1}, "1 of 4 files could not be restored for trial on this machine"),
        ({"files": 3, "differ": 1}, "1 files of the machine are not what the snapshot holds"),
        ({"files": 3}, ""),
        ({"files": "three"}, ""),
    ],
)
def test_end_of_a_drill_in_words(summary: dict, wanted: str):
    what, advice = of_drill(summary)
    assert wanted in what
    assert bool(what) == bool(advice) == bool(wanted)


def test_names_leave_only_where_they_were_asked_for():
    state = {"phase": "saving", "bytes_done": 5, "file": "/home/" + "ü" * 500}
    assert "home" not in progress_text(state, names=False)
    assert "file" not in progress_text(state, names=False)
    told = progress_text(state, names=True)
    assert '"file": "' in told
    assert len(told) < 4096
    assert progress_text({}, names=False) == ""
