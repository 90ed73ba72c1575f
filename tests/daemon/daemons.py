"""A daemon as a process of its own, and the platform's side of what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from backup_platform.fleet.models import Machine
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.models import Job, JobLine, JobOrigin
from backup_platform.policies.models import Policy
from backup_platform.tenants.scope import tenant_scope, without_tenant_scope
from tests.end_to_end.stage import PASSPHRASE, Agent, World

REPOSITORY = Path(__file__).resolve().parents[2]
WAIT = 60.0


def environment(agent: Agent) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY),
        "STRONGROOM_AGENT_HOME": str(agent.home),
        "STRONGROOM_PASSPHRASE": PASSPHRASE,
    }


class Daemon:
    """`strongroom daemon` of one agent; what it says goes to `daemon.log` beside its home."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.log = agent.home.with_name(f"{agent.home.name}.log")
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agents", "daemon"], env=environment(agent), stdout=said, stderr=said
            )

    def said(self) -> str:
        return self.log.read_text()

    def wait_for_word(self, word: str) -> None:
        until(lambda: word in self.said(), self.said)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT)

    def end(self) -> int:
        """As SIGTERM does."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WAIT)


@contextmanager
def daemon_of(agent: Agent) -> Iterator[Daemon]:
    daemon = Daemon(agent)
    try:
        yield daemon
    finally:
        daemon.kill()
        end_jobs(agent)


def end_jobs(agent: Agent) -> None:
    """End the jobs' processes, which outlive their daemon by design."""
    from agents.daemon.job_records import JobRecords, session_members

    for record in JobRecords(agent.home).all():
        process = record.process()
        if process is not None and record.runs():
            for pid in session_members(process.pid):
                os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], Any], explain: Callable[[], str] = lambda: "", seconds: float = WAIT) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it never happened; {explain()}"
        time.sleep(0.05)
    return found


def machine_of(world: World, name: str = "alpha") -> Machine:
    with without_tenant_scope("test"):
        return Machine.objects.get(name=name, vault=world.vault)


def ask_for_backup(world: World, machine: Machine, name: str = "Documents", **settings: Any) -> UUID:
    """A job by a policy with these settings (`selection_sources` is selection.sources)."""
    flat = {key.replace("_", ".", 1): value for key, value in settings.items()}
    with tenant_scope(world.vault.tenant_id):
        policy, _ = Policy.objects.get_or_create(tenant_id=world.vault.tenant_id, name=name)
        job = agent_jobs.request_backup(policy, machine, origin=JobOrigin.PERSON, asked_by="tests", settings=flat)
    assert job is not None
    return job


def job_of(job_id: UUID) -> Job:
    with without_tenant_scope("test"):
        return Job.objects.get(pk=job_id)


def lines_of(job_id: UUID) -> list[str]:
    with without_tenant_scope("test"):
        return list(JobLine.objects.filter(job_id=job_id).order_by("pk").values_list("text", flat=True))


def wait_for_state(job_id: UUID, *states: str, daemon: Daemon | None = None) -> Job:
    def is_there() -> Job | None:
        job = job_of(job_id)
        return job if job.state in states else None

    def explain() -> str:
        job = job_of(job_id)
        said = daemon.said() if daemon else ""
        return f"the job is {job.state} ({job.last_error}) {lines_of(job_id)}\n{said}"

    found: Job = until(is_there, explain)
    return found
