"""`make bench-fleet`: many daemons on one gateway: idle, then a part of them backing up at once; then a tick of 10,000.

    python -m benchmarks.bench_fleet             # 1,000 agents, idle for 15 minutes
    python -m benchmarks.bench_fleet --short     # 100 agents, 30 seconds: about two minutes in all

Prints a table and writes benchmarks/results/latest-fleet.json. When the platform has ended, benchmarks.scheduler_tick
runs on a database of its own. The simulators' CPU is not counted, but it is used on
the same machine: what they take, the gateway has not. Ends with 1 if something was dropped or presence was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.crowds import COMMAND_SECONDS, Crowd
from benchmarks.embedded_platform import CHECKOUT, TENANT, EmbeddedPlatform

TICK_SECONDS = 900.0
RESULTS = Path(__file__).resolve().parent / "results" / "latest-fleet.json"
MIB = 1 << 20
OBSERVERS = 25
PRESENCE_SECONDS = 60.0
ONLINE = """
SELECT count(*) FROM fleet_machine machine JOIN fleet_gatewaybeat beat ON beat.name = machine.connected_to
WHERE beat.seen_at > now() - interval '45 seconds'"""
WRITES = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_user_tables"
GOALS = {
    ("idle", "dropped"): 0,
    ("idle", "presence wrong"): 0,
    ("idle", "gateway memory, MiB"): 600,
    ("idle", "gateway CPU, % of a core"): 10,
    ("idle", "database writes a second"): 5,
    ("idle", "control message p99, ms"): 500,
    ("backups", "throughput, one agent's to all's"): 1.25,
    ("backups", "failed"): 0,
    ("backups", "control message p99, ms"): 500,
    ("backups", "event loop lag p99, ms"): 50,
    ("vanished", "seconds until presence is right"): 60,
    ("scheduler tick", "seconds"): 1.0,
    ("scheduler tick", "statements"): 20,
}
"""Most; a figure without a goal is only told. A ratio of 1.25 is a throughput of 80 %."""


@dataclass
class Bench:
    """The platform, the crowds, and what was measured: (step, figure) → value."""

    platform: EmbeddedPlatform
    crowds: list[Crowd]
    """The last one only observes: whoever makes data in the same process would measure how busy it is itself."""
    figures: dict[tuple[str, str], float] = field(default_factory=dict)

    def all(self, verb: str, **said: Any) -> list[dict[str, Any]]:
        """The same command to every crowd, at once. Raises RuntimeError for what did not work."""
        answers = [answer.result(COMMAND_SECONDS) for answer in [crowd.start(verb, **said) for crowd in self.crowds]]
        faults = [answer["fault"] for answer in answers if "fault" in answer]
        if faults:
            raise RuntimeError(f"{verb}: {faults[0]}")
        return answers

    @property
    def gateway(self) -> psutil.Process:
        """Its process."""
        return psutil.Process(self.platform.pids["gateway"])

    def drops(self) -> int:
        """How often a connection broke that should not have."""
        return sum(len(answer["drops"]) for answer in self.all("state"))

    def wait_online(self, wanted: int) -> float:
        """Seconds until exactly so many machines are online; the time limit, if they are not by then."""
        begun = time.monotonic()
        while self.platform.ask(ONLINE) != wanted and time.monotonic() - begun < PRESENCE_SECONDS + 5:
            time.sleep(0.5)
        return time.monotonic() - begun

    # --- steps -----------------------------------------------------------------------------------------------------

    def idle(self, agents: int, seconds: float) -> None:
        """Everybody is connected and nothing is to be done."""
        self.wait_online(agents)
        time.sleep(min(10.0, seconds / 4))  # what connecting brought is written by then
        before, writes, cpu = time.monotonic(), self.platform.ask(WRITES), _cpu(self.gateway)
        pings = self._ping_beside(seconds, lambda: time.sleep(max(0.0, before + seconds - time.monotonic())))
        passed = time.monotonic() - before
        self._note("idle", "agents", agents)
        self._note("idle", "seconds", passed)
        self._note("idle", "dropped", self.drops())
        self._note("idle", "presence wrong", abs(agents - self.platform.ask(ONLINE)))
        self._note("idle", "gateway memory, MiB", self.gateway.memory_info().rss / MIB)
        self._note("idle", "gateway CPU, % of a core", 100 * (_cpu(self.gateway) - cpu) / passed)
        self._note("idle", "database writes a second", (self.platform.ask(WRITES) - writes) / passed)
        self._note("idle", "control message p99, ms", 1000 * _percentile(pings, 99))

    def backups(self, agents: int, mebibytes: int) -> None:
        """One backs up alone, then many at once as much together."""
        workers = self.crowds[:-1]
        alone = workers[0].start("back_up", agents=1, mebibytes=agents * mebibytes).result(COMMAND_SECONDS)
        failed = len(alone["failed"])
        self.platform.wait_for_rest()
        shares = [agents // len(workers)] * len(workers)
        together: list[dict[str, Any]] = []

        def back_up() -> None:
            said = [
                crowd.start("back_up", agents=share, mebibytes=mebibytes)
                for crowd, share in zip(workers, shares, strict=True)
            ]
            together.extend(answer.result(COMMAND_SECONDS) for answer in said)

        begun = time.time()
        pings = self._ping_beside(None, back_up)
        seconds = max(answer["seconds"] for answer in together)
        failed += sum(len(answer["failed"]) for answer in together)
        for answer in together:
            for reason in answer["failed"][:3]:
                print("a backup failed:", reason, file=sys.stderr)
        one, many = alone["bytes"] / alone["seconds"], sum(answer["bytes"] for answer in together) / seconds
        self._note("backups", "agents", sum(shares))
        self._note("backups", "one agent, MiB/s", one / MIB)
        self._note("backups", "all agents, MiB/s", many / MIB)
        self._note("backups", "throughput, one agent's to all's", one / many if many else 0.0)
        self._note("backups", "failed", failed)
        self._note("backups", "control message p99, ms", 1000 * _percentile(pings, 99))
        self._note("backups", "gateway memory, MiB", self.gateway.memory_info().rss / MIB)
        self.window = begun, time.time()

    def vanish(self, agents: int, gone: int) -> None:
        """Some lose their power: presence must know within a minute."""
        share = max(1, gone // len(self.crowds))
        self.all("drop", agents=share)
        took = self.wait_online(agents - share * len(self.crowds))
        self._note("vanished", "agents", share * len(self.crowds))
        self._note("vanished", "seconds until presence is right", took)

    def tick(self, machines: int, rounds: int) -> None:
        """A tick over ten plans of each of so many machines, all due at once."""
        with tempfile.TemporaryDirectory(prefix="strongroom-tick-") as directory:
            said = Path(directory) / "tick.json"
            command = [sys.executable, "-m", "benchmarks.scheduler_tick", "--json", str(said)]
            command += ["--machines", str(machines), "--rounds", str(rounds)]
            finished = subprocess.run(command, cwd=CHECKOUT, stdout=sys.stderr, check=False, timeout=TICK_SECONDS)
            if not said.exists():
                raise RuntimeError(f"benchmarks.scheduler_tick ended with {finished.returncode}")
            step = json.loads(said.read_text())[1]
        self._note("scheduler tick", "plans due at once", 10 * machines)
        self._note("scheduler tick", "seconds", statistics.median(step["wall"]))
        self._note("scheduler tick", "statements", step["statements"])

    def lag(self, log: Path) -> None:
        """The event loop's lag while the backups ran, as the gateway's own log has it."""
        begun, ended = self.window
        lags = [lag for at, lag in _lags_of(log) if begun - 1 <= at <= ended + 61]
        if lags:
            self._note("backups", "event loop lag p99, ms", 1000 * max(lags))

    def _ping_beside(self, seconds: float | None, work: Any) -> list[float]:
        """Ping on control connections while `work` runs; the answers' times."""
        taken: list[float] = []
        done = threading.Event()

        def ping() -> None:
            while not done.is_set():
                asked = self.crowds[-1].start("ping", agents=OBSERVERS, seconds=2.0)
                taken.extend(asked.result(COMMAND_SECONDS)["pings"])
                done.wait(5.0 if seconds and seconds > 120 else 0.0)

        thread = threading.Thread(target=ping)
        thread.start()
        try:
            work()
        finally:
            done.set()
            thread.join()
        return taken

    def _note(self, step: str, figure: str, value: float) -> None:
        self.figures[step, figure] = float(value)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100] if values else 0.0


def _lags_of(log: Path) -> Iterator[tuple[float, float]]:
    from datetime import datetime

    for line in log.read_text(errors="replace").splitlines():
        if "gateway at work" not in line:
            continue
        lag = re.search(r'lag_p99[="\': ]+([\d.]+)', line)
        at = re.search(r"(\d{4}-\d\d-\d\dT[\d:.]+)", line)
        if lag and at:
            yield datetime.fromisoformat(at[1] + "+00:00").timestamp(), float(lag[1])


def cells(bench: Bench) -> list[dict[str, Any]]:
    """As in latest.json: `corpus` is "fleet"; `peer` and `ratio` are null, and `goal` is in the figure's own unit."""
    return [
        {
            "corpus": "fleet",
            "step": step,
            "figure": figure,
            "ours": round(value, 3),
            "peer": None,
            "ratio": None,
            "goal": GOALS.get((step, figure)),
        }
        for (step, figure), value in bench.figures.items()
    ]


def table(found: list[dict[str, Any]]) -> str:
    """The figures with their goals, as Markdown."""
    rows = ["| step | figure | ours | goal | |", "|---|---|---|---|---|"]
    for one in found:
        verdict = "" if one["goal"] is None else ("met" if one["ours"] <= one["goal"] else "MISSED")
        goal = "" if one["goal"] is None else f"{one['goal']:g}"
        rows.append(f"| {one['step']} | {one['figure']} | {one['ours']:,.2f} | {goal} | {verdict} |")
    return "\n".join(rows)


@contextmanager
def _stage(options: argparse.Namespace) -> Iterator[Bench]:
    work = Path(tempfile.mkdtemp(prefix="strongroom-fleet-", dir=os.environ.get("BENCH_ROOT")))
    work.chmod(0o755)
    platform, crowds = EmbeddedPlatform(work / "platform"), []
    try:
        platform.start()
        string = json.loads(
            platform.manage(
                "create_enrollment", "--tenant", TENANT, "--kit", str(platform.kit), "--json",
                "--uses", str(options.agents), "--minutes", "120",
            ).strip().splitlines()[-1]
        )["enrollment"]  # fmt: skip
        observers = min(OBSERVERS, max(2, options.agents // 4))
        each = (options.agents - observers) // options.processes
        counts = [each] * options.processes + [options.agents - each * options.processes]
        crowds = [Crowd(string, work / f"crowd-{n}", n * each, count) for n, count in enumerate(counts)]
        yield Bench(platform, crowds)
    finally:
        for crowd in crowds:
            crowd.stop()
        platform.stop()
        shutil.rmtree(work, ignore_errors=True)


def _run(options: argparse.Namespace) -> Bench:
    with _stage(options) as bench:
        agents = sum(crowd.count for crowd in bench.crowds)
        _say(f"enrolling {agents} agents (an RSA key each)")
        bench.all("enrol")
        _say("connecting")
        took = max(answer["seconds"] for answer in bench.all("connect"))
        _say(f"connected in {took:.1f} s; idle for {options.seconds:.0f} s")
        bench.idle(agents, options.seconds)
        _say(f"{options.backups} agents back up {options.mebibytes} MiB each")
        bench.backups(options.backups, options.mebibytes)
        _say("some vanish")
        bench.vanish(agents, max(2, agents // 50))
        gateway = bench.gateway
        gateway.terminate()  # it says its last figures; the platform starts it again
        psutil.wait_procs([gateway], timeout=60)
        bench.lag(bench.platform.home / "logs" / "gateway.log")
    _say(f"a scheduler's tick over {10 * options.tick_machines:,} plans")
    bench.tick(options.tick_machines, options.tick_rounds)
    return bench


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=15.0, help="how long to be idle")
    parser.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--backups", type=int, help="agents that back up at once (default: a tenth)")
    parser.add_argument("--mebibytes", type=int, default=32, help="what each of them saves")
    parser.add_argument("--processes", type=int, default=2, help="of simulated agents")
    parser.add_argument("--tick-machines", type=int, default=1000, help="of the scheduler's tick, ten plans each")
    parser.add_argument("--tick-rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the figures go")
    parser.add_argument("--short", action="store_true", help="100 agents and 30 s, unless said otherwise")
    options = parser.parse_args()
    if options.short and options.agents == parser.get_default("agents"):
        options.agents = 100
    if options.seconds is None:
        options.seconds = 30.0 if options.short else options.minutes * 60
    if options.short:
        options.tick_rounds = min(options.tick_rounds, 3)
    options.backups = options.backups or max(2, options.agents // 10)
    return options


def main() -> None:
    """Measure, print, keep; exit 1 when a promise that does not depend on the machine's speed was broken."""
    options = _options()
    found = cells(_run(options))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"cells": found, "peers": {}}, indent=1) + "\n")
    print(table(found))
    broken = [one for one in found if one["goal"] == 0 and one["ours"]]
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
