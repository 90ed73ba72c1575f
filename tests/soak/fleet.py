"""Machines that change their files and back them up again and again, through a balancer before three gateways."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.end_to_end.trees import describe
from tests.faults.proxy import Proxy
from tests.faults.stage import MIB, Machine, Said, SecondGateway, Stage, ended

MACHINES = 3
RATE = 12 * MIB
"""Bytes a second of all machines together: backups that last long enough to be hit."""
START_TRIES = 40
RESTORE_EVERY = 6
KEPT = 10
"""Copies of a machine's tree, to compare older snapshots with at the end."""
PATIENCE = "900"
UNTIL_VERIFIED = 1_200.0
"""Seconds in which every snapshot has to be verified: twice the longest pause between two attempts of a job."""
QUIET = 300.0
"""Seconds that a command may take after the killing has ended."""


class Fleet:
    """Machines, gateways and the proxy between them."""

    def __init__(self, stage: Stage, directory: Path, seed: int) -> None:
        self.stage = stage
        self.faults: list[str] = []
        self._directory = directory
        self._seed = seed
        self._starting = threading.Lock()
        self._ended = threading.Event()
        self.gateways: list[SecondGateway] = []
        self.rounds: list[Round] = []
        self.judged: dict[str, Any] = {}

    @contextmanager
    def running(self) -> Iterator[Fleet]:
        self.gateways = [SecondGateway(self.stage).start() for _ in range(2)]
        with Proxy(*(gateway.address for gateway in self.gateways), self.stage.gateway).running() as self.proxy:
            self.proxy.rate = RATE
            for number in range(MACHINES):
                machine = self.stage.machine(f"machine-{number}")
                machine.dial("127.0.0.1", self.proxy.port)
                self.rounds.append(Round(self, machine, self._directory / machine.home.name, f"{self._seed}/{number}"))
            try:
                yield self
            finally:
                self._ended.set()
                for gateway in self.gateways:
                    gateway.kill()

    def start_gateway(self, gateway: SecondGateway) -> None:
        """Start a killed one again, on another port; as `up` does, again and again while the database is away."""
        with self._starting:
            if self._ended.is_set() or gateway.process.poll() is None:
                return
            for left in reversed(range(START_TRIES)):
                try:
                    gateway.start()
                    break
                except AssertionError as fault:
                    if not left:
                        self.faults.append(f"a gateway did not start: {fault}")
                        return
                    time.sleep(1)
            self.proxy.upstreams = [*(one.address for one in self.gateways), self.stage.gateway]

    def back_up_for(self, seconds: float) -> None:
        """All machines at once, each one backup after the other."""
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=one.run, args=(until,)) for one in self.rounds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def settle(self) -> None:
        """Nothing is killed any more: everything must come to an end, and to a good one."""
        for gateway in self.gateways:
            self.start_gateway(gateway)
        self.proxy.rate = None
        for one in self.rounds:
            one.last_round()
        self.judged = self._judge_in_time()
        scrubbed = self.stage.manage("scrub", "--json")
        if scrubbed.returncode != 0:
            self.faults.append(f"scrub ended with {scrubbed.returncode}: {scrubbed.stdout[-500:]}")
        bad = {snapshot: state for snapshot, state in self.judged["snapshots"].items() if state != "verified"}
        if bad:
            self.faults.append(f"snapshots that are not verified at the end: {bad}")

    def _judge_in_time(self) -> dict[str, Any]:
        """The oracle's verdict once nothing is *received* any more: a job that crashed often waits longer each time."""
        end = time.monotonic() + UNTIL_VERIFIED
        while True:
            judged = self.stage.check_ledgers(seconds=QUIET)
            if "received" not in judged["snapshots"].values() or time.monotonic() > end:
                return judged
            time.sleep(30)

    def summary(self, seed: int, kills: Counter[str], seconds: float) -> str:
        killed = ", ".join(f"{name} {number}" for name, number in sorted(kills.items()))
        backups, resumed, restores = (
            sum(getattr(one, name) for one in self.rounds) for name in ("backups", "resumed", "restores")
        )
        told = self.judged
        size, snapshots = told.get("bytes", 0) / 1e6, len(told.get("snapshots", {}))
        lines = [f"soak: FAULT: {fault}" for fault in self.faults]
        lines.append(
            f"soak: seed {seed}: {sum(kills.values())} kills ({killed}) in {seconds / 60:.1f} minutes;"
            f" {backups} backups, {resumed} of them after their agent was killed; {restores} restores equal;"
            f" {told.get('records', 0):,} records acknowledged ({size:,.0f} MB) and {snapshots} snapshots,"
            f" {len(told.get('lost', []))} lost; {len(self.faults)} faults"
        )
        return "\n".join(lines)


@dataclass
class Round:
    """One machine's life: change some files, back up until it works, sometimes restore and compare."""

    fleet: Fleet
    machine: Machine
    directory: Path
    seed: str
    backups: int = 0
    restores: int = 0
    resumed: int = 0
    trees: dict[str, dict[bytes, tuple]] = field(default_factory=dict)
    process: Popen[str] | None = None

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.source = self.directory / "source"
        (self.source / "many").mkdir(parents=True)

    def kill(self) -> bool:
        """SIGKILL for the agent, if one runs."""
        process = self.process
        if process is None or process.poll() is not None:
            return False
        process.kill()
        return True

    def run(self, until: float) -> None:
        try:
            while time.monotonic() < until and not self.fleet.faults:
                self.change()
                self.back_up()
                if self.backups % RESTORE_EVERY == 0:
                    self.restore("latest", describe(self.source))
        except BaseException as fault:  # noqa: BLE001 - a thread's fault is the run's fault
            self.fleet.faults.append(f"{self.machine.home.name}: {fault!r}")

    def last_round(self) -> None:
        """After the last kill: one more backup must be verified, and older snapshots must still be equal."""
        try:
            self.change()
            self.back_up("--wait", "--wait-timeout", str(QUIET))
            for snapshot, tree in self.trees.items():
                self.restore(snapshot, tree)
        except BaseException as fault:  # noqa: BLE001 - see above
            self.fleet.faults.append(f"{self.machine.home.name} at the end: {fault!r}")

    def change(self) -> None:
        """A few megabytes of new files, some small ones, and some that go."""
        for _ in range(self.chance.randrange(2, 14)):
            path = self.source / f"large-{self.chance.randrange(24)}"
            path.write_bytes(self.chance.randbytes(self.chance.randrange(1, 3 * MIB)))
        for _ in range(self.chance.randrange(1, 40)):
            path = self.source / "many" / f"small-{self.chance.randrange(300)}"
            path.write_bytes(self.chance.randbytes(self.chance.randrange(1, 9_000)))
        for path in self.chance.sample(sorted(self.source.rglob("*-*")), 1):
            path.unlink()

    def back_up(self, *more: str) -> None:
        """The same backup until it ends well; it may be killed, or be told that its dead self is still at work."""
        tries = 0
        while True:
            said = self._run("backup", str(self.source), *(more or ("--no-wait",)), "--retry-for", PATIENCE)
            if said.code == 0:
                break
            tries += 1
            if said.code not in (5, -9) or tries > 200:
                raise AssertionError(f"the backup ended with {said.code}: {said.err[-500:]}")
            time.sleep(0.5 if said.code == 5 else 0)
        self.backups += 1
        self.resumed += tries > 0
        self._remember(said.summary["snapshot_id"])

    def _remember(self, snapshot: str) -> None:
        self.trees[snapshot] = describe(self.source)
        if len(self.trees) > KEPT:
            del self.trees[self.chance.choice(list(self.trees)[:-1])]

    def restore(self, snapshot: str, expected: dict[bytes, tuple]) -> None:
        target = self.directory / "target"
        said = self._run("restore", snapshot, "--target", str(target), "--retry-for", PATIENCE)
        while said.code in (5, -9):
            shutil.rmtree(target, ignore_errors=True)
            said = self._run("restore", snapshot, "--target", str(target), "--retry-for", PATIENCE)
        if said.code != 0:
            raise AssertionError(f"the restore ended with {said.code}: {said.err[-500:]}")
        if describe(target / self.source.relative_to("/")) != expected:
            raise AssertionError(f"snapshot {snapshot} was not restored as it was")
        shutil.rmtree(target)
        self.restores += 1

    def _run(self, *arguments: str) -> Said:
        self.process = self.machine.start(*arguments, "--json")
        return ended(self.process, 1_200)
