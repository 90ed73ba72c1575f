"""Runs one step and says what it cost: wall seconds, CPU seconds of everything, peak memory.

The client's CPU and memory come from wait4() of the process with all that it waited for. Whatever serves it lives
longer than the step and is read from /proc before and after: every process of its trees, and through the waited-for
times of the living also those that ended in between. /proc counts in ticks of 10 ms.

The client is started by `launcher`, which says why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
LAUNCHER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))]


class StepFailed(Exception):
    """A step ended badly: there is no figure for it, and none is made up."""


@dataclass
class Sample:
    """What one step cost. Seconds; memory in MiB. `more` holds what only some steps have (verified, size, …)."""

    wall: float
    cpu: float
    rss: float
    client_cpu: float = 0.0
    server_cpu: float = 0.0
    server_rss: float = 0.0
    load: float = 0.0
    more: dict[str, float] = field(default_factory=dict)


@dataclass
class ServerSide:
    """The processes that serve a client: the roots of their trees, and the one whose peak memory is asked for."""

    roots: Sequence[int]
    watched: int | None = None

    def cpu(self) -> float:
        """CPU seconds of all trees so far, ended descendants included."""
        return tree_cpu(self.roots)

    def forget_peak(self) -> None:
        """Let the watched process's peak memory begin anew."""
        if self.watched:
            Path(f"/proc/{self.watched}/clear_refs").write_text("5")

    def peak(self) -> float:
        """Peak memory of the watched process in MiB since it was last forgotten."""
        return peak_memory(self.watched) if self.watched else 0.0


def process_table() -> dict[int, tuple[int, int]]:
    """Of each process its parent and its ticks (user and system, its own and of the children it waited for)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue  # it ended while we looked; its parent has its time
        found[int(name)] = (int(fields[1]), sum(int(value) for value in fields[11:15]))
    return found


def tree_cpu(roots: Iterable[int]) -> float:
    """CPU seconds of these processes and of all that descends from them."""
    table = process_table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in table.items():
        children.setdefault(parent, []).append(pid)
    waiting, seen, ticks = list(roots), set(), 0
    while waiting:
        pid = waiting.pop()
        if pid in seen or pid not in table:
            continue
        seen.add(pid)
        ticks += table[pid][1]
        waiting.extend(children.get(pid, ()))
    return ticks / TICKS


def peak_memory(pid: int) -> float:
    """VmHWM in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def run_step(
    command: Sequence[str],
    environment: dict[str, str],
    log: Path,
    *,
    directory: Path | None = None,
    server: ServerSide | None = None,
    allowed: Sequence[int] = (0,),
    afterwards: Callable[[Sample], None] | None = None,
) -> Sample:
    """Run COMMAND to its end and measure. AFTERWARDS waits for what the server still does: its CPU is part of the step.

    Raises StepFailed with the command's last words if its exit code is none of ALLOWED.
    """
    os.sync()
    before = server.cpu() if server else 0.0
    if server:
        server.forget_peak()
    report = log.with_name(f"{log.name}.cost")
    with open(log, "ab") as output:
        run_to_its_end([*LAUNCHER, str(report), *command], env=environment, cwd=directory, stdout=output, stderr=output)
    wall, user, system, peak, code = map(float, report.read_text().split())
    if code not in allowed:
        raise StepFailed(f"{' '.join(command)}\nended with {code:.0f}:\n{last_words(log)}")
    client = user + system
    sample = Sample(wall, client, peak / 1024, client_cpu=client, load=os.getloadavg()[0])
    if afterwards:
        afterwards(sample)
    if server:
        sample.server_cpu = server.cpu() - before
        sample.server_rss = server.peak()
        sample.cpu += sample.server_cpu
    return sample


def run_to_its_end(command: Sequence[str], **options: Any) -> None:
    """Run COMMAND; if we are stopped meanwhile, it is stopped as well, with all that it started."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options) as process:
        try:
            if process.wait():
                raise StepFailed(f"The launcher of {' '.join(command)} ended with {process.returncode}.")
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise


def last_words(log: Path, length: int = 1500) -> str:
    """The end of a log."""
    return log.read_bytes()[-length:].decode(errors="replace")


def size_of(*directories: Path) -> float:
    """MiB in all files below."""
    total = 0
    for directory in directories:
        for base, _, files in os.walk(directory):
            total += sum(os.lstat(os.path.join(base, name)).st_size for name in files)
    return total / MIB


def read_once(directory: Path) -> None:
    """Bring a tree into the page cache: every contender finds it there."""
    for base, _, files in os.walk(directory):
        for name in files:
            with open(os.path.join(base, name), "rb", buffering=0) as handle:
                while handle.read(MIB):
                    pass
