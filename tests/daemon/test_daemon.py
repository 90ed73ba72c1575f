"""A real daemon at a real gateway: offered, running, reporting, interrupted, restarted."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from agents.daemon.job_records import JobRecords
from backup_platform.catalog.models import Snapshot
from backup_platform.jobs import agent_jobs
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.daemon.daemons import (
    Daemon,
    ask_for_backup,
    daemon_of,
    job_of,
    lines_of,
    machine_of,
    until,
    wait_for_state,
)
from tests.end_to_end.stage import World
from tests.end_to_end.trees import describe

pytestmark = pytest.mark.django_db(transaction=True)
SLOW = [{"days": [0, 1, 2, 3, 4, 5, 6], "from": "00:00", "until": "24:00", "kbit_per_second": 400}]
"""50 kB/s: a backup of a few hundred kilobytes takes long enough to be met while it runs."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source"
    top.mkdir()
    for number in range(5):
        (top / f"file-{number}").write_bytes(random.Random(number).randbytes(50_000))
    (top / "junk.tmp").write_bytes(b"x")
    return top


def large(source: Path, size: int = 1_500_000) -> Path:
    (source / "large").write_bytes(random.Random(99).randbytes(size))
    return source


def test_policy_backup_is_done_and_can_be_restored(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    with daemon_of(agent) as daemon:
        job_id = ask_for_backup(
            world, machine_of(world), selection_sources=[str(source)], selection_exclude=["*.tmp"], hooks_before=None
        )
        job = wait_for_state(job_id, "done", "failed", "warnings", daemon=daemon)
        assert job.state == "done", (job.last_error, lines_of(job_id), daemon.said())
        with without_tenant_scope("test"):
            snapshot = Snapshot.objects.get()
        assert job.snapshot == snapshot.pk
        assert daemon.end() == 0
    assert agent.run("restore", "latest", "--target", tmp_path / "target").code == 0
    times = source.stat()
    (source / "junk.tmp").unlink()
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert describe(tmp_path / "target" / source.relative_to("/")) == describe(source)
    assert list((agent.home / "jobs").glob("*/")) == []


def test_source_that_is_gone_is_a_failure_in_words(world: World):
    with daemon_of(world.agent()) as daemon:
        job_id = ask_for_backup(world, machine_of(world), selection_sources=["/nowhere/at/all"])
        job = wait_for_state(job_id, "failed", daemon=daemon)
        assert "None of the paths exists" in job.last_error
        assert job.advice


def test_progress_is_told_without_names(world: World, source: Path):
    with daemon_of(world.agent()) as daemon:
        settings: dict[str, Any] = {"selection_sources": [str(large(source))], "limits_bandwidth": SLOW}
        job_id = ask_for_backup(world, machine_of(world), **settings)
        progress = until(
            lambda: (job_of(job_id).progress or {}).get("bytes_done") and job_of(job_id).progress, daemon.said
        )
        assert progress["phase"] in ("scanning", "saving", "finishing")
        assert progress["files_done"] >= 0
        assert "large" not in str(progress)


def test_cancelled_backup_ends_soon(world: World, source: Path):
    with daemon_of(world.agent()) as daemon:
        settings: dict[str, Any] = {"selection_sources": [str(large(source, 20_000_000))], "limits_bandwidth": SLOW}
        job_id = ask_for_backup(world, machine_of(world), **settings)
        wait_for_state(job_id, "running", daemon=daemon)
        daemon.wait_for_word("began")
        agent_jobs.cancel(job_of(job_id), "tests")
        assert wait_for_state(job_id, "cancelled", daemon=daemon).state == "cancelled"
        with without_tenant_scope("test"):
            assert not Snapshot.objects.exists()


def test_backup_goes_on_while_the_daemon_is_killed_and_is_reported_by_the_next(world: World, source: Path):
    agent = world.agent()
    settings: dict[str, Any] = {"selection_sources": [str(large(source, 600_000))], "limits_bandwidth": SLOW}
    with daemon_of(agent) as daemon:
        job_id = ask_for_backup(world, machine_of(world), **settings)
        wait_for_state(job_id, "running", daemon=daemon)
        daemon.wait_for_word("began")
        daemon.kill()
        with daemon_of(agent) as second:
            job = wait_for_state(job_id, "done", "failed", daemon=second)
            assert (job.state, job.attempts) == ("done", 1), (job.last_error, lines_of(job_id), second.said())


def test_daemon_that_is_told_to_end_interrupts_its_backup_and_says_so(world: World, source: Path):
    agent = world.agent()
    settings: dict[str, Any] = {
        "selection_sources": [str(large(source, 600_000))],
        "limits_bandwidth": SLOW,
        "schedule_attempts": 3,
    }
    with daemon_of(agent) as daemon:
        job_id = ask_for_backup(world, machine_of(world), **settings)
        wait_for_state(job_id, "running", daemon=daemon)
        daemon.wait_for_word("began")
        assert daemon.end() == 0, daemon.said()
    wait_for_state(job_id, "queued", "offered", daemon=daemon)
    assert "ended: temporary The agent was stopped while the job ran." in daemon.said()
    agent_jobs.cancel(job_of(job_id), "tests")
    with daemon_of(agent) as second:
        again = ask_for_backup(world, machine_of(world), selection_sources=[str(source)])
        wait_for_state(again, "done", daemon=second)


def test_offer_is_declined_while_this_machine_takes_no_jobs(world: World, source: Path):
    agent = world.agent()
    (agent.home / "agent.toml").write_text("[daemon]\naccept_jobs = false\n")
    with daemon_of(agent) as daemon:
        job_id = ask_for_backup(world, machine_of(world), selection_sources=[str(source)])
        daemon.wait_for_word("declined: This machine takes no jobs")
        assert job_of(job_id).state in ("queued", "offered")


def test_configuration_is_read_anew_and_a_bad_one_is_said_and_changes_nothing(world: World, source: Path):
    agent = world.agent()
    configuration = agent.home / "agent.toml"
    configuration.write_text("[daemon]\naccept_jobs = false\n")
    with daemon_of(agent) as daemon:
        daemon.wait_for_word("connected")
        configuration.write_text("[daemon]\naccept_jobs = maybe\n")
        daemon.wait_for_word("is not TOML")
        machine = machine_of(world)
        until(lambda: "not TOML" in str(machine_of(world).facts), daemon.said)
        job_id = ask_for_backup(world, machine, selection_sources=[str(source)])
        daemon.wait_for_word("declined")
        configuration.write_text("[daemon]\naccept_jobs = true\n")
        daemon.wait_for_word("read anew")
        agent_jobs.cancel(job_of(job_id), "tests")
        again = ask_for_backup(world, machine, name="Another", selection_sources=[str(source)])
        wait_for_state(again, "done", daemon=daemon)


def test_hooks_run_before_and_after_and_only_the_machines_own(world: World, source: Path, tmp_path: Path):
    agent = world.agent()
    configuration = agent.home / "agent.toml"
    configuration.write_text(
        f'[hooks.first]\ncommand = ["/bin/sh", "-c", "echo before was here; date > {tmp_path}/before"]\n'
        f'[hooks.last]\ncommand = ["/bin/sh", "-c", "echo $STRONGROOM_OUTCOME > {tmp_path}/after"]\n'
        '[hooks.broken]\ncommand = ["/bin/sh", "-c", "echo no database >&2; exit 9"]\n'
    )
    configuration.chmod(0o600)
    sources: dict[str, Any] = {"selection_sources": [str(source)]}
    with daemon_of(agent) as daemon:
        machine = machine_of(world)
        first = ask_for_backup(world, machine, **sources, hooks_before="first", hooks_after="last")
        wait_for_state(first, "done", daemon=daemon)
        assert (tmp_path / "after").read_text() == "done\n"
        assert (tmp_path / "before").exists()
        assert "before was here" in lines_of(first)
        second = ask_for_backup(world, machine, "Second", **sources, hooks_before="broken", hooks_after="last")
        failed = wait_for_state(second, "failed", daemon=daemon)
        assert "exit code 9" in failed.last_error
        assert "no database" in lines_of(second)
        assert (tmp_path / "after").read_text() == "failed\n"
        third = ask_for_backup(world, machine, "Third", **sources, hooks_before="/bin/true")
        assert "has no hook" in wait_for_state(third, "failed", daemon=daemon).last_error
        fourth = ask_for_backup(world, machine, "Fourth", **sources, hooks_after="broken")
        assert "exit code 9" in wait_for_state(fourth, "warnings", daemon=daemon).last_error


def test_dump_of_a_hook_is_backed_up(world: World, tmp_path: Path):
    agent = world.agent()
    (agent.home / "agent.toml").write_text('[hooks.dump]\ncommand = ["/bin/echo", "a dump"]\n')
    (agent.home / "agent.toml").chmod(0o600)
    with daemon_of(agent) as daemon:
        job_id = ask_for_backup(world, machine_of(world), stdin_hook="dump", stdin_name="db.sql")
        wait_for_state(job_id, "done", daemon=daemon)
    assert agent.run("restore", "latest", "--target", tmp_path / "target").code == 0
    assert (tmp_path / "target/db.sql").read_text() == "a dump\n"


def test_restore_goes_into_a_fresh_directory_or_a_folder_that_the_machine_names(
    world: World, source: Path, tmp_path: Path
):
    agent = world.agent()
    said = agent.json("backup", source, "--no-wait")
    snapshot = UUID(said.summary["snapshot_id"])
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "precious").write_text("stays")
    (agent.home / "agent.toml").write_text(f'[restore]\nfolders = {{ desk = "{desk}" }}\n')
    (agent.home / "agent.toml").chmod(0o600)
    with daemon_of(agent) as daemon:
        machine = machine_of(world)
        with tenant_scope(world.vault.tenant_id):
            jobs = [
                agent_jobs.request_restore(machine, snapshot, into=into, asked_by="tests", paths=paths)
                for into, paths in (("", ()), ("desk", (f"{source}/file-1", f"{source}/file-2")), ("elsewhere", ()))
            ]
        wait_for_state(jobs[0], "done", daemon=daemon)
        wait_for_state(jobs[1], "done", daemon=daemon)
        refused = wait_for_state(jobs[2], "failed", daemon=daemon)
    assert "has no restore folder 'elsewhere'" in refused.last_error
    fresh = agent.home / "restores" / jobs[0].hex
    assert describe(fresh / source.relative_to("/")) == describe(source)
    assert stat.S_IMODE((agent.home / "restores").stat().st_mode) == 0o700
    named = desk / f"strongroom-{jobs[1].hex}" / source.relative_to("/")
    assert sorted(path.name for path in named.iterdir()) == ["file-1", "file-2"]
    assert (desk / "precious").read_text() == "stays"


def test_second_daemon_of_a_home_is_refused(world: World):
    agent = world.agent()
    with daemon_of(agent) as daemon:
        daemon.wait_for_word("connected")
        second = Daemon(agent)
        assert second.process.wait(60) == 5
        assert daemon.process.poll() is None


def file_told(job_id: UUID) -> str:
    return str((job_of(job_id).progress or {}).get("file", ""))


def slow_reading(world: World, source: Path) -> UUID:
    """A backup that stands at one file: what it has read and not sent fills the window."""
    settings: dict[str, Any] = {"selection_sources": [str(large(source, 90 << 20))], "limits_bandwidth": SLOW}
    return ask_for_backup(world, machine_of(world), **settings, privacy_file_names_in_progress=True)


def test_file_in_progress_is_named_where_the_tenant_asks_for_it(world: World, source: Path):
    with daemon_of(world.agent()) as daemon:
        job_id = slow_reading(world, source)
        until(lambda: file_told(job_id) == str(source / "large"), daemon.said)


def test_machine_may_refuse_to_name_files_whatever_a_policy_says(world: World, source: Path):
    agent = world.agent()
    (agent.home / "agent.toml").write_text("[privacy]\nfile_names = false\n")
    (agent.home / "agent.toml").chmod(0o600)
    with daemon_of(agent) as daemon:
        job_id = slow_reading(world, source)
        (record,) = until(lambda: [one for one in JobRecords(agent.home).all() if one.progress().get("file")])
        assert record.job == job_id.bytes
        for _ in range(2):  # two words of the daemon later the platform would know
            before = job_of(job_id).lease_until
            until(lambda before=before: job_of(job_id).lease_until != before, daemon.said)
        assert job_of(job_id).progress
        assert file_told(job_id) == ""
