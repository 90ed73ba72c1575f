"""`make bench`: Strongroom, restic and borg on the same corpora, step by step in turn.

    python -m benchmarks.run --corpora code --steps full,unchanged --runs 1 --scale 0.05

Each run of a corpus gives every contender an empty store. Each step is done by one contender after the other, so that
a machine whose speed drifts slows them alike; who begins changes from run to run. The median of the runs counts.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform as system
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import peers
from benchmarks.comparing import differences
from benchmarks.contenders import STEPS, Contender, fresh_directory
from benchmarks.corpora import BUILDERS, Corpus, default_root
from benchmarks.extras import DAYS, Extras
from benchmarks.goals import REFERENCE
from benchmarks.measuring import Sample, StepFailed, read_once
from benchmarks.ours import Ours
from benchmarks.results import Results, save, save_failed, table

EXTRAS = ("start", "days", "agents")
RESULTS = Path(__file__).resolve().parent / "results"
QUIET_LOAD = 0.5
MEMORY = Path("/dev/shm") / f"strongroom-bench-{os.getpid()}"


def main() -> int:
    """0: measured (goals met or not); 1: a step failed, or a restored tree differs."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is stopped and removed
    options.root.mkdir(parents=True, exist_ok=True)
    with open(options.root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"Another benchmark runs in {options.root}: two at once would measure each other.")
            return 1
        benchmark = Benchmark(options)
        try:
            results = benchmark.run()
        except StepFailed as fault:
            kept = save_failed(benchmark.results, options.results)
            print(f"\nThe benchmark failed; latest.json is as it was.\n{fault}", file=sys.stderr)
            print(f"What was measured before is in {kept}", file=sys.stderr)
            return 1
    latest = save(results, options.results)
    show(results, latest)
    return 0


def read_options() -> argparse.Namespace:
    """The command line; the environment gives the defaults."""

    def names(allowed: tuple[str, ...]):
        def read(text: str) -> list[str]:
            chosen = [name for name in text.split(",") if name]
            if wrong := set(chosen) - set(allowed):
                raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: choose from {', '.join(allowed)}")
            return chosen

        return read

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = parser.add_argument
    every("--corpora", type=names(tuple(BUILDERS)), default=list(BUILDERS))
    every("--steps", type=names(STEPS), default=list(STEPS), help="`full` is always part of it")
    every("--peers", type=names(tuple(peers.PEERS)), default=list(peers.PEERS))
    every("--extras", type=names(EXTRAS), default=list(EXTRAS), help="'' for none")
    every("--runs", type=int, default=int(os.environ.get("BENCH_RUNS") or 3))
    every("--days", type=int, default=DAYS)
    every("--scale", type=float, default=1.0, help="smaller corpora, to try the harness: no figures to quote")
    every("--root", type=Path, default=default_root())
    every("--results", type=Path, default=RESULTS)
    return parser.parse_args()


class Benchmark:
    """One call of `make bench`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work = options.root / "work"
        self.peers, versions, missing = peers.find_peers(options.peers)
        self.results = Results(versions=versions, missing=missing, machine=describe_machine())
        self.began = time.monotonic()

    def run(self) -> Results:
        """Build, measure, clean up."""
        for sentence in self.results.missing:
            self.say(sentence)
        if (load := os.getloadavg()[0]) > QUIET_LOAD:
            self.say(f"The machine is not quiet (load {load:.1f}): figures will be too high and uneven.")
        fresh_directory(self.work)
        try:
            corpora = self.build()
            for name in self.options.corpora:
                for number in range(self.options.runs):
                    self.measure(corpora[name], number)
            if self.options.extras:
                room = self.room_for(max(corpora.values(), key=lambda corpus: corpus.bytes))
                extras = Extras(corpora, self.options.days, self.work, room, self.results, self.say)
                extras.run(self.options.extras, [name for name in self.peers if name == REFERENCE])
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
            shutil.rmtree(MEMORY, ignore_errors=True)
        return self.results

    def build(self) -> dict[str, Corpus]:
        """All corpora that are needed, in a process of its own; their digests are printed."""
        more = {"days": "tiny", "agents": "media"}
        wanted = dict.fromkeys([*self.options.corpora, *(more[x] for x in self.options.extras if x in more)])
        found = {}
        for name in wanted:
            command = [sys.executable, "-m", "benchmarks.corpora", name, "--root", str(self.options.root)]
            finished = subprocess.run(
                [*command, "--scale", str(self.options.scale)], stdout=subprocess.PIPE, check=True
            )
            made = json.loads(finished.stdout)
            self.results.corpora.append(made)
            found[name] = Corpus(**{**made, "path": Path(made["path"])})
            self.say(f"{name}: {made['files']:,} files, {made['bytes'] / 2**20:,.1f} MiB, {made['digest'][:16]}")
        return found

    def measure(self, corpus: Corpus, run: int) -> None:
        """One run: every contender with an empty store does every step."""
        contenders: list[Contender] = [Ours(self.work), *(peers.make_peer(name, self.work) for name in self.peers)]
        turn = run % len(contenders)
        contenders = contenders[turn:] + contenders[:turn]
        with contextlib.ExitStack() as stack:
            stack.callback(change, "undo", corpus)
            for contender in contenders:
                stack.callback(contender.close)
                contender.open()
            for step in STEPS:
                if step != "full" and step not in self.options.steps:
                    continue
                if step == "delta":
                    change("apply", corpus)
                for contender in contenders:
                    sample = self.step(contender, corpus, step, run)
                    self.results.add(contender.name, corpus.name, step, run, sample)
                    if step == "full" and "verified" in sample.more:
                        self.results.add("ours", corpus.name, "verified", run, Sample(sample.more["verified"], 0, 0))
                    self.tell(contender, corpus, step, run, sample)

    def step(self, contender: Contender, corpus: Corpus, step: str, run: int) -> Sample:
        """One step of one contender."""
        if step == "check":
            return contender.check()
        if step == "restore":
            return self.restore(contender, corpus, run)
        read_once(corpus.path)  # each time: borg drops from the page cache what it has read
        sample = contender.backup(corpus.path)
        sample.more["size"] = contender.size()
        if isinstance(contender, Ours):
            sample.more["database"] = contender.platform.database_size()
        return sample

    def restore(self, contender: Contender, corpus: Corpus, run: int) -> Sample:
        """Restore, compare with the source, remove. A difference of ours is a failure; a peer's is noted."""
        target = fresh_directory(self.room_for(corpus) / f"restored-{contender.name}")
        try:
            sample = contender.restore(target)
            if contender.name == "ours" or run == 0:
                different = differences(corpus.path, contender.restored(target, corpus.path))
                if different and contender.name == "ours":
                    raise StepFailed(f"The restored {corpus.name} differs from its source:\n{different}")
                if different:
                    self.results.notes.append(f"{contender.name}, {corpus.name}: {different.strip()}")
        finally:
            shutil.rmtree(target, ignore_errors=True)
        return sample

    def room_for(self, corpus: Corpus) -> Path:
        """Where restores go: memory if there is room (a disk that deletes and creates many files is no clock)."""
        memory = MEMORY.parent
        if memory.is_dir() and shutil.disk_usage(memory).free > 1.5 * corpus.bytes + 500_000_000:
            return MEMORY
        if not any(note.startswith("Restores went") for note in self.results.notes):
            self.results.notes.append("Restores went to a disk: there is no tmpfs with room.")
        return Path(tempfile.mkdtemp(dir=self.work))

    def tell(self, contender: Contender, corpus: Corpus, step: str, run: int, sample: Sample) -> None:
        """One line a step."""
        verified = f", verified after {sample.more['verified']:.1f} s" if "verified" in sample.more else ""
        self.say(
            f"{corpus.name} run {run + 1} {step:9} {contender.name:6} {sample.wall:7.2f} s wall {sample.cpu:7.2f} s cpu"
            f" ({sample.server_cpu:.2f} server) {sample.rss:5.0f} MiB{verified}"
        )

    def say(self, line: str) -> None:
        """Progress, with the minutes since the start."""
        print(f"[{(time.monotonic() - self.began) / 60:5.1f} min] {line}", flush=True)


def change(what: str, corpus: Corpus) -> None:
    """Apply or undo the delta of a corpus."""
    subprocess.run([sys.executable, "-m", "benchmarks.deltas", what, str(corpus.path)], check=True)


def describe_machine() -> dict[str, object]:
    """What a reader must know of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpus": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "kernel": system.release(),
        "python": system.python_version(),
        "load_before": os.getloadavg()[0],
    }


def show(results: Results, latest: Path) -> None:
    """The table, and what must be said beside it."""
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    print(f"\n{machine}\nPeers: {versions or 'none'}\n\n{table(results, ['borg'])}\n")
    for sentence in [*results.missing, *results.notes]:
        print(sentence)
    print(f"Written: {latest}")


if __name__ == "__main__":
    sys.exit(main())
