"""A job on this machine's disk: `jobs/<id>/` in the home, from its offer until the platform has heard how it ended.

The daemon may die at any moment, and so may the process that does the job. What is here says to the next daemon what
runs, what ended, and what is still to be reported.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agents.state import fsync_directory, write_private

OFFER, PROCESS, PROGRESS, LINES, RESULT, STOP = (
    "offer.json",
    "process.json",
    "progress.json",
    "lines.jsonl",
    "result.json",
    "stop",
)
JOB_FILE, TOLD = "job.json", "lines.told"
MAX_FILE = 8 << 20
MOST_LINES = 500
"""Lines of one job that are kept."""
LINE_LENGTH = 500
Kind = TypeVar("Kind", bound=msgspec.Struct)


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """What was offered and accepted. `spec` is the platform's, unchecked."""

    job: str
    lease: str
    kind: str
    spec: dict[str, Any]
    accepted_at: float = 0.0


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """Who does it. A process id is given again some day; its start time tells the two apart ("" where unknown)."""

    pid: int
    started: str = ""


class Line(msgspec.Struct, frozen=True):
    """A line of the job's log. Never a file's name."""

    level: str
    text: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended; `outcome` is one of the protocol's words."""

    outcome: str
    message: str = ""
    advice: str = ""
    snapshot: str = ""
    counts: dict[str, int] = {}


class JobRecord:
    """One job's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def job(self) -> bytes:
        """The job's id."""
        return bytes.fromhex(self.directory.name)

    def offered(self) -> Offered | None:
        """What was accepted; None when that never came to disk whole."""
        return self._read(OFFER, Offered)

    def result(self) -> Result | None:
        """How it ended; None while nobody has said so."""
        return self._read(RESULT, Result)

    def progress(self) -> dict[str, Any]:
        """The last state that its process told."""
        try:
            said = msgspec.json.decode(self._bytes(PROGRESS))
        except (OSError, msgspec.MsgspecError):
            return {}
        return said if isinstance(said, dict) else {}

    def lines(self, skip: int) -> list[Line]:
        """The lines of its log after the first `skip`; a last one that is not whole yet is left for later."""
        try:
            data = self._bytes(LINES)
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1].splitlines()[skip:]
        lines = []
        for line in whole:
            with contextlib.suppress(msgspec.MsgspecError):
                lines.append(msgspec.json.decode(line, type=Line))
        return lines

    def lines_told(self) -> int:
        """How many of its lines the platform has heard."""
        try:
            return int(self._bytes(TOLD))
        except (OSError, ValueError):
            return 0

    def tell_lines(self, count: int) -> None:
        """So many lines were sent. It is not made durable: a line that is told twice does no harm."""
        with contextlib.suppress(OSError):
            (self.directory / TOLD).write_text(str(count))

    def set_lease(self, offered: Offered, lease: str) -> Offered:
        """The platform took the job up again under another lease."""
        renewed = msgspec.structs.replace(offered, lease=lease)
        self.write(OFFER, renewed)
        return renewed

    def end(self, result: Result) -> None:
        """Say durably how it ended, unless that was said already."""
        if not (self.directory / RESULT).exists():
            self.write(RESULT, result)

    def stop(self, why: str) -> None:
        """Leave word for its process why it is being interrupted: "cancel" (by people) or "shutdown"."""
        with contextlib.suppress(OSError):
            write_private(self.directory / STOP, why.encode())

    @property
    def stopped(self) -> str:
        """Why it was interrupted, "" if it was not."""
        try:
            return self._bytes(STOP).decode("ascii", "replace")
        except OSError:
            return ""

    def process(self) -> Process | None:
        """Who does it, as far as that came to disk."""
        return self._read(PROCESS, Process)

    def runs(self) -> bool:
        """Whether its process lives, as somebody who is not its parent can tell."""
        process = self.process()
        return process is not None and start_of(process.pid) not in ("", None) and is_same(process)

    def write(self, name: str, value: msgspec.Struct) -> None:
        """Write one of its files, durably."""
        write_private(self.directory / name, msgspec.json.encode(value))

    def remove(self) -> None:
        """Everything was reported. The offer goes first: a half-removed directory is none."""
        with contextlib.suppress(OSError):
            (self.directory / OFFER).unlink()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _bytes(self, name: str) -> bytes:
        with open(self.directory / name, "rb") as file:
            return file.read(MAX_FILE)

    def _read(self, name: str, kind: type[Kind]) -> Kind | None:
        try:
            return msgspec.json.decode(self._bytes(name), type=kind)
        except (OSError, msgspec.MsgspecError):
            return None


class JobRecords:
    """All jobs of one home."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "jobs"

    def all(self) -> list[JobRecord]:
        """Every job that is not yet reported, the oldest first. What cannot be one is removed."""
        records = []
        for directory in sorted(self._directories(), key=lambda path: path.stat().st_mtime):
            record = JobRecord(directory)
            if record.offered() is None:
                record.remove()
            else:
                records.append(record)
        return records

    def add(self, job: bytes, lease: str, kind: str, spec: dict[str, Any]) -> JobRecord:
        """Note durably that a job was accepted."""
        directory = self._directory / job.hex()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        if directory.exists():
            JobRecord(directory).remove()
        directory.mkdir(mode=0o700)
        record = JobRecord(directory)
        record.write(OFFER, Offered(job=job.hex(), lease=lease, kind=kind, spec=spec, accepted_at=time.time()))
        fsync_directory(self._directory)
        return record

    def _directories(self) -> list[Path]:
        try:
            return [path for path in self._directory.iterdir() if path.is_dir() and _is_id(path.name)]
        except FileNotFoundError:
            return []


def _is_id(name: str) -> bool:
    return len(name) == 32 and all(digit in "0123456789abcdef" for digit in name)


def start_of(pid: int) -> str | None:
    """When a process began, in the kernel's own count; None when it is gone (or a zombie), "" where nobody can say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _alive(pid)
    except OSError:
        return None
    return None if stat[0] in "ZX" else stat[19]


def is_same(process: Process) -> bool:
    """Whether the process that was noted is the one that lives under its id now."""
    return start_of(process.pid) == process.started


def _alive(pid: int) -> str | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return ""
    return ""


def session_members(leader: int) -> list[int]:
    """The processes of a session, from /proc; only the leader where there is none."""
    members = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = entry.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[3]) == leader:
                members.append(int(entry.parent.name))
    return members or [leader]
