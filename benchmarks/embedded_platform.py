"""A whole platform of the benchmark's own: `manage.py up` in a fresh home on free ports, used by its commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.contenders import fresh_directory
from benchmarks.measuring import ServerSide, StepFailed, last_words

CHECKOUT = Path(__file__).resolve().parent.parent
MANAGE = [sys.executable, str(CHECKOUT / "manage.py")]
AGENT = [sys.executable, "-m", "agents"]
TENANT = "bench"
START_SECONDS, STOP_SECONDS, WORK_SECONDS, COMMAND_SECONDS = 600, 90, 900, 300
POLL_SECONDS = 0.02
WORK_LEFT = """
SELECT count(*) FROM jobs_job
WHERE state = 'running' OR (state = 'queued' AND next_attempt_at < now() + interval '10 seconds')"""
"""Work that is due later is the timetable's and not the step's."""
OUTSIDE = Path("/var/lib/strongroom")
"""Where an instance that runs as root may keep its servers' data."""
FOREIGN = {"DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "DJANGO_SECRET_KEY", "DJANGO_SETTINGS_MODULE"}


class EmbeddedPlatform:
    """Start it, let machines join, ask its database when it has nothing left to do, and leave nothing behind."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.home, self.kit, self.log = work / "home", work / "kit", work / "platform.log"
        self.ready = work / "ready.json"
        kept = {key: value for key, value in os.environ.items() if key not in FOREIGN | {"STRONGROOM_AGENT_HOME"}}
        self.environment = {
            **kept,
            "PYTHONPATH": str(CHECKOUT),
            "STRONGROOM_HOME": str(self.home),
            "STRONGROOM_PASSPHRASE": "a benchmark keeps no secrets",
            "STRONGROOM_WEB_PORT": "0",
            "STRONGROOM_GATEWAY_PORT": "0",
        }

    def start(self) -> None:
        """From nothing to serving, with a tenant and a vault. Raises StepFailed."""
        fresh_directory(self.work)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*MANAGE, "up", "--ready-file", str(self.ready)],
                env=self.environment,
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + START_SECONDS
        while not self.ready.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise StepFailed(f"The platform did not start:\n{last_words(self.log)}")
            time.sleep(0.1)
        self.pids: dict[str, int] = json.loads(self.ready.read_text())["pids"]
        run = json.loads((self.home / "run.json").read_text())["environment"]
        self.database = psycopg.connect(run["DATABASE_URL"], autocommit=True)
        self.manage("create_tenant", TENANT, "--kit", str(self.kit))

    def server_side(self) -> ServerSide:
        """All its processes; the gateway's memory is watched. Raises StepFailed if one was replaced meanwhile."""
        if json.loads(self.ready.read_text())["pids"] != self.pids:
            raise StepFailed(f"A process of the platform died and was started again:\n{last_words(self.log)}")
        return ServerSide([self.process.pid, *self.pids.values()], self.pids["gateway"])

    def manage(self, *arguments: str) -> str:
        """Run a management command to its end; what it printed."""
        return self._run([*MANAGE, *arguments], self.environment)

    def join(self, agent_home: Path, name: str) -> dict[str, str]:
        """Enrol a machine; the environment in which its agent runs."""
        printed = self.manage("create_enrollment", "--tenant", TENANT, "--kit", str(self.kit), "--json")
        string = json.loads(printed.strip().splitlines()[-1])["enrollment"]
        environment = {**self.environment, "STRONGROOM_AGENT_HOME": str(agent_home)}
        self._run([*AGENT, "enroll", "-", "--name", name], environment, text=f"{string}\n")
        return environment

    def _run(self, command: list[str], environment: dict[str, str], text: str = "") -> str:
        finished = subprocess.run(
            command,
            env=environment,
            cwd=CHECKOUT,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if finished.returncode:
            raise StepFailed(f"{' '.join(command)} ended with {finished.returncode}:\n{finished.stderr[-1500:]}")
        return finished.stdout

    def ask(self, query: str, *values: object) -> Any:
        """The first column of the first row. The benchmark looks at rows only to know when a step is over."""
        row = self.database.execute(query, values).fetchone()
        return row[0] if row else None

    def wait_for_verified(self, snapshot: str) -> float:
        """Wait until the snapshot is verified; return the seconds that it took from now."""
        began = time.perf_counter()
        while (state := self.ask("SELECT state FROM catalog_snapshot WHERE id = %s", snapshot)) == "received":
            self._pause(began, f"snapshot {snapshot} to be verified")
        if state != "verified":
            raise StepFailed(f"Snapshot {snapshot} became {state}.")
        return time.perf_counter() - began

    def wait_for_rest(self) -> None:
        """Wait until no work is left that a step began."""
        began = time.perf_counter()
        while self.ask(WORK_LEFT):
            self._pause(began, "all work to be done")

    def _pause(self, began: float, what: str) -> None:
        if time.perf_counter() - began > WORK_SECONDS:
            raise StepFailed(f"Waited {WORK_SECONDS} s in vain for {what}:\n{last_words(self.log)}")
        time.sleep(POLL_SECONDS)

    def database_size(self) -> float:
        """MiB of the catalogue's database."""
        return float(self.ask("SELECT pg_database_size(current_database())")) / (1 << 20)

    def stop(self) -> None:
        """End everything and remove all of it, also what lies outside the home."""
        if hasattr(self, "database"):
            self.database.close()
        if hasattr(self, "process"):
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        servers = servers_directory(self.home)
        if servers and servers.parent == OUTSIDE:
            shutil.rmtree(servers, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)


def servers_directory(home: Path) -> Path | None:
    """Where the instance in HOME keeps its servers' data."""
    try:
        return Path(json.loads((home / "instance.json").read_text())["servers"])
    except (OSError, ValueError, KeyError):
        return None
