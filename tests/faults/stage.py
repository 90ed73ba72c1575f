"""A platform started by `manage.py up`, machines whose agents are processes, and the oracle over their ledgers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agents.state import AgentHome
from tests.end_to_end.trees import describe
from tests.faults.ledger import Ledger
from tests.platform.conftest import REPOSITORY, Platform, clean_environment, manage, wait_until

TENANT = "north"
PASSPHRASE = "six words are enough for a test"
MIB = 1 << 20
LONGEST = 100.0
"""Seconds that any one command of a test may take."""


@dataclass(frozen=True)
class Said:
    """How an agent's command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        last = self.records[-1]
        assert last["message_type"] == "summary", self
        return last


@dataclass
class Machine:
    """An enrolled agent: its home, and the ledger of what it was told is durable."""

    home: Path
    gateway: tuple[str, int]

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.with_suffix(".ledger"))

    def dial(self, host: str, port: int) -> None:
        """From now on, connect there (a proxy, another gateway)."""
        home = AgentHome(self.home)
        home.save_machine(replace(home.machine(), host=host, port=port))

    def start(self, *arguments: str | os.PathLike[str], **more: str) -> subprocess.Popen[str]:
        """A command of this agent as a process."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY),
            "STRONGROOM_AGENT_HOME": str(self.home),
            "STRONGROOM_PASSPHRASE": PASSPHRASE,
            "LEDGER": str(self.ledger.path),
            "LC_ALL": "C.UTF-8",
            **more,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "tests.faults.ledger_agent", *map(os.fspath, arguments)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | os.PathLike[str], **more: str) -> Said:
        return ended(self.start(*arguments, **more))

    def json(self, *arguments: str | os.PathLike[str], **more: str) -> Said:
        return self.run(*arguments, "--json", **more)

    def back_up(self, source: Path, **more: str) -> Said:
        """A backup that must succeed."""
        said = self.json("backup", source, "--no-wait", **more)
        assert said.code == 0, said
        return said

    def back_up_when_free(self, source: Path) -> Said:
        """The same backup again after its process died: the gateway needs a moment to see that it has gone."""
        said: list[Said] = []

        def backed_up() -> bool:
            said.append(self.json("backup", source, "--no-wait"))
            return said[-1].code != 5

        wait_until(backed_up, "the dead agent's session", 30)
        assert said[-1].code == 0, said[-1]
        return said[-1]

    def restores_equal(self, source: Path, target: Path, snapshot: str = "latest", **more: str) -> None:
        """A restore of what SOURCE is now; the target is removed again."""
        said = self.json("restore", snapshot, "--target", target, **more)
        assert said.code == 0, said
        assert describe(target / source.relative_to("/")) == describe(source)
        shutil.rmtree(target)


def ended(process: subprocess.Popen[str], seconds: float = LONGEST) -> Said:
    """Wait for a process and what it said; it may not take longer than SECONDS."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Said(process.returncode, out, err)


@dataclass
class Stage:
    """A running platform with one tenant, its vault and its kit."""

    directory: Path
    platform: Platform
    machines: list[Machine] = field(default_factory=list)

    @property
    def kit(self) -> Path:
        return self.directory / "kit"

    @property
    def home(self) -> Path:
        return self.platform.home

    @property
    def gateway(self) -> tuple[str, int]:
        host, port = self.platform.ready()["gateway"].rsplit(":", 1)
        return host, int(port)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return manage(self.home, *arguments, STRONGROOM_PASSPHRASE=PASSPHRASE)

    def set(self) -> Stage:
        """Make tenant, vault and kit."""
        made = self.manage("create_tenant", TENANT, "--kit", str(self.kit))
        assert made.returncode == 0, made.stderr
        return self

    def machine(self, name: str) -> Machine:
        """Enrol a machine."""
        made = self.manage("create_enrollment", "--tenant", TENANT, "--kit", str(self.kit), "--json")
        assert made.returncode == 0, made.stderr
        machine = Machine(self.directory / name, self.gateway)
        said = machine.run("enroll", json.loads(made.stdout.splitlines()[-1])["enrollment"], "--name", name)
        assert said.code == 0, said
        self.machines.append(machine)
        return machine

    def pid(self, name: str) -> int:
        return int(self.platform.ready()["pids"][name])

    def kill(self, name: str) -> None:
        """SIGKILL one of the platform's processes; `up` starts it again."""
        os.kill(self.pid(name), signal.SIGKILL)

    def wait_for_new(self, name: str, before: int, seconds: float = 60) -> None:
        """Until `up` has replaced a process that was killed."""
        wait_until(lambda: self.pid(name) != before, f"a new {name}", seconds)

    def environment(self) -> dict[str, str]:
        """What a process of this platform's own needs to join it."""
        record = json.loads((self.home / "run.json").read_text())["environment"]
        return {**clean_environment(self.home), **record, "PYTHONPATH": str(REPOSITORY)}

    def packs(self) -> set[Path]:
        """Every pack file, wherever it is just now."""
        return {path for top in ("spool", "store") for path in (self.home / top).rglob("*.pack")}

    def check_ledgers(self, *machines: Machine, seconds: float = LONGEST) -> dict[str, Any]:
        """The oracle: everything acknowledged reads back, every committed snapshot is there. Returns its figures."""
        ledgers = [str(machine.ledger.path) for machine in machines or self.machines]
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.oracle", TENANT, *ledgers],
            env=self.environment(),
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout.splitlines()[-1])
        assert result["lost"] == [], result
        assert result["lost_snapshots"] == [], result
        return result

    @contextmanager
    def second_gateway(self, prefix: tuple[str, ...] = ()) -> Iterator[SecondGateway]:
        """Another gateway on the same home and database, killed at the end."""
        gateway = SecondGateway(self, prefix)
        try:
            yield gateway.start()
        finally:
            gateway.kill()


@dataclass
class SecondGateway:
    """`manage.py run_gateway` beside the one that `up` keeps."""

    stage: Stage
    prefix: tuple[str, ...] = ()

    def start(self) -> SecondGateway:
        port_file = self.stage.directory / f"port-{random.getrandbits(32):08x}"
        log = (self.stage.directory / "second-gateway.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "manage.py", "run_gateway", "--host", "127.0.0.1", "--port", "0",
                 "--port-file", str(port_file)],
                cwd=REPOSITORY, env=self.stage.environment(), stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(
            lambda: (port_file.exists() and port_file.read_text().strip()) or self.process.poll() is not None,
            "a second gateway",
            60,
        )
        assert self.process.poll() is None, (self.stage.directory / "second-gateway.log").read_text()[-2000:]
        self.address = ("127.0.0.1", int(port_file.read_text()))
        return self

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(20)


@contextmanager
def running_stage() -> Iterator[Stage]:
    """A platform of its own, from its start to the removal of everything that it made."""
    # Not below pytest's own directory: the account that runs the servers cannot enter that.
    directory = Path(tempfile.mkdtemp(prefix="sr-faults-"))
    directory.chmod(0o711)
    platform = Platform(directory)
    try:
        platform.start()
        yield Stage(directory, platform).set()
    finally:
        platform.remove()


def make_files(top: Path, mebibytes: int, seed: int) -> Path:
    """Files of one MiB that nothing can compress, and a few small ones."""
    chance = random.Random(seed)
    (top / "inner").mkdir(parents=True)
    for number in range(mebibytes):
        (top / "inner" / f"file-{number:03}").write_bytes(chance.randbytes(MIB))
    for number in range(20):
        (top / f"small-{number}").write_bytes(chance.randbytes(chance.randrange(1, 3000)))
    return top
