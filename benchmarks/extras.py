"""The rows beside the table: an agent's start, fifty days of small changes, twenty agents at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.comparing import differences
from benchmarks.contenders import Contender, fresh_directory
from benchmarks.corpora import MIB, Corpus
from benchmarks.embedded_platform import AGENT, CHECKOUT
from benchmarks.measuring import Sample, StepFailed, last_words, peak_memory, read_once
from benchmarks.ours import AnotherMachine, Ours
from benchmarks.results import Results

STARTS, DAYS, AGENTS, AGENT_SECONDS = 9, 50, 20, 900
FIRST_DAY = 4_000
Say = Callable[[str], None]


def measure_start(ours: Ours, work: Path, results: Results) -> None:
    """What a backup costs that has nothing to do: imports, TLS, begin, commit."""
    source = fresh_directory(work / "nothing")
    (source / "one.txt").write_text("nothing to do\n")
    ours.backup(source)
    for run in range(STARTS):
        results.add("ours", "start", "unchanged", run, ours.backup(source))


def measure_days(
    contenders: list[Contender], tiny: Corpus, work: Path, room: Path, days: int, results: Results, say: Say
) -> None:
    """A copy of `tiny` changes each day and is backed up each day; what are size and restore worth afterwards?"""
    source = work / "days"
    shutil.rmtree(source, ignore_errors=True)
    subprocess.run(["cp", "-a", str(tiny.path), str(source)], check=True)
    read_once(source)
    for day in range(days + 1):
        if day:
            change(source, FIRST_DAY + day)
        for contender in contenders:
            sample = contender.backup(source)
            results.add(contender.name, "days", "delta" if day else "full", day, sample)
        if day % 10 == 0:
            say(f"day {day}: " + ", ".join(f"{c.name} {c.size():.1f} MiB" for c in contenders))
    for contender in contenders:
        target = fresh_directory(room / f"restored-{contender.name}")
        sample = contender.restore(target)
        sample.more["size"] = contender.size()
        different = differences(source, contender.restored(target, source))
        shutil.rmtree(target)
        if different and contender.name == "ours":
            raise StepFailed(f"After {days} days the restored tree differs:\n{different}")
        results.add(contender.name, "days", "restore", 0, sample)
    shutil.rmtree(source)


def change(source: Path, seed: int) -> None:
    """One day's changes, for good."""
    command = [sys.executable, "-m", "benchmarks.deltas", "apply", str(source), "--seed", str(seed), "--for-good"]
    subprocess.run(command, check=True)


def used_share(agent_home: Path) -> float:
    """Of the bytes in the bundles that the newest snapshot needs, the share that it uses."""
    command = [sys.executable, "-m", "benchmarks.bundle_share", str(agent_home)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def measure_agents(ours: Ours, media: Corpus, count: int, work: Path, results: Results) -> None:
    """COUNT machines of one vault send at once; each has an incompressible file of its own."""
    machines = [AnotherMachine(ours, f"agent-{number:02d}") for number in range(count)]
    files = sorted(media.path.iterdir())
    sources = []
    for number in range(count):
        source = fresh_directory(work / f"source-{number:02d}")
        link = source / "clip.bin"
        shutil.copyfile(files[number % len(files)], link)
        with open(link, "r+b") as handle:
            handle.write(number.to_bytes(8))
        sources.append(source)
    os.sync()
    server = ours.platform.server_side()
    server.forget_peak()
    before, began = server.cpu(), time.perf_counter()
    running = [start_backup(machine, source) for machine, source in zip(machines, sources, strict=True)]
    peaks = await_all(running, machines)
    sample = Sample(time.perf_counter() - began, 0.0, server.peak())
    ours.platform.wait_for_rest()
    sample.server_cpu = server.cpu() - before
    sample.more = {"agents": count, "mib_each": files[0].stat().st_size / MIB, "largest_agent": max(peaks)}
    results.add("ours", "agents", "gateway", 0, sample)


def start_backup(machine: AnotherMachine, source: Path) -> subprocess.Popen[bytes]:
    """An agent that works on its own."""
    command = [*AGENT, "backup", str(source), "--no-wait", "--json", "--quiet"]
    with open(machine.work / "backup.log", "wb") as log:
        return subprocess.Popen(
            command, env=machine.agent, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def await_all(running: list[subprocess.Popen[bytes]], machines: list[AnotherMachine]) -> list[float]:
    """Wait for all agents; the peak memory of each in MiB, as far as it was seen. Raises StepFailed."""
    peaks = [0.0] * len(running)
    end = time.monotonic() + AGENT_SECONDS
    while any(process.poll() is None for process in running):
        if time.monotonic() > end:
            raise StepFailed("The agents did not end.")
        for place, process in enumerate(running):
            if process.returncode is None:
                peaks[place] = max(peaks[place], seen_peak(process.pid))
        time.sleep(0.1)
    for process, machine in zip(running, machines, strict=True):
        if process.returncode:
            raise StepFailed(f"{machine.work.name}: {last_words(machine.work / 'backup.log')}")
    return peaks


def seen_peak(pid: int) -> float:
    """The peak so far; 0 if the process is gone."""
    try:
        return peak_memory(pid)
    except OSError:
        return 0.0


@dataclass
class Extras:
    """Measures the chosen rows, each on a fresh platform. ROOM is where restores go."""

    corpora: dict[str, Corpus]
    days: int
    work: Path
    room: Path
    results: Results
    say: Say

    def run(self, chosen: list[str], others: list[str]) -> None:
        """Measure what was CHOSEN; OTHERS are the peers that live through the fifty days as well."""
        for extra in chosen:
            self.say(extra)
            ours = Ours(self.work)
            beside = [peers.make_peer(name, self.work) for name in others] if extra == "days" else []
            with contextlib.ExitStack() as stack:
                for contender in (ours, *beside):
                    stack.callback(contender.close)
                    contender.open()
                self._measure(extra, ours, beside)

    def _measure(self, extra: str, ours: Ours, beside: list[Contender]) -> None:
        if extra == "start":
            measure_start(ours, self.work, self.results)
        elif extra == "agents":
            measure_agents(ours, self.corpora["media"], AGENTS, self.work, self.results)
        else:
            contenders = [ours, *beside]
            measure_days(contenders, self.corpora["tiny"], self.work, self.room, self.days, self.results, self.say)
            share = used_share(ours.work / "agent")
            self.results.notes.append(f"After {self.days} days, {share:.0%} of the bytes in bundles of tiny are used.")
