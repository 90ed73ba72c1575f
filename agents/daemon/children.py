"""The processes that do jobs: started, found again after a restart of the daemon, interrupted, and heard to the end."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from typing import Any

from agents.daemon.job_file import JobFile, names_asked_for
from agents.daemon.job_records import (
    JOB_FILE,
    PROCESS,
    JobRecord,
    Line,
    Offered,
    Process,
    Result,
    is_same,
    session_members,
    start_of,
)
from agents.errors import ExitCode

log = logging.getLogger("strongroom.daemon")

GRACE = 30.0
"""Seconds between SIGINT and SIGKILL: a commit that is under way may still be answered."""
LONGEST_NAME = 200
"""Characters of a file's path that are told, its end; escaped they fit into a PROGRESS with everything else."""
KILLED = "The process that did the job ended without a word: it was killed, or the machine ran out of memory."
SHUTDOWN = "The agent was stopped while the job ran."
CUT_OFF = "The machine or its agent went down while the job ran."


class Child:
    """One job that runs, or ran. `ended` once its result is on disk."""

    def __init__(self, record: JobRecord, offered: Offered, popen: subprocess.Popen[bytes] | None = None) -> None:
        self.record = record
        self.offered = offered
        self._popen = popen
        self._kill_at: float | None = None
        self.disowned = False
        """The platform gave the job to somebody else: it is ended, and nothing is reported."""

    @property
    def job(self) -> bytes:
        """The job's id."""
        return self.record.job

    @property
    def kind(self) -> str:
        """backup, restore or what else was offered."""
        return self.offered.kind

    @property
    def names_asked_for(self) -> bool:
        """Whether the policy of the job asks for the name of the file that is being read."""
        settings = self.offered.spec.get("settings")
        return isinstance(settings, dict) and names_asked_for(settings)

    def poll(self) -> bool:
        """Look after the process. Returns whether it has ended; then its result is on disk."""
        if self._lives():
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                self._kill()
            return False
        self.record.end(self._wordless_end())
        return True

    def _wordless_end(self) -> Result:
        """The result of a process that left none."""
        stopped = self.record.stopped
        if stopped == "cancel":
            return Result(outcome="cancelled", counts={"exit_code": ExitCode.INTERRUPTED})
        message = SHUTDOWN if stopped else KILLED if self._popen is not None else CUT_OFF
        code = {"exit_code": int(ExitCode.TEMPORARY)}
        return Result(outcome="temporary", message=message, advice="It goes on where it stopped.", counts=code)

    def interrupt(self, why: str) -> None:
        """Ask it to end; it is killed if it has not after GRACE."""
        self.record.stop(why)
        if self._kill_at is None:
            self._kill_at = time.monotonic() + GRACE
            process = self.record.process()
            if process is not None and self._lives():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGINT)

    def renew(self, lease: str) -> None:
        """The platform knows the job under another lease from now on."""
        if lease != self.offered.lease:
            self.offered = self.record.set_lease(self.offered, lease)

    def new_lines(self, most: int) -> list[Line]:
        """Lines of its log that were not told yet; `told` notes that they were."""
        return self.record.lines(self.record.lines_told())[:most]

    def told(self, count: int) -> None:
        """So many more lines were told."""
        self.record.tell_lines(self.record.lines_told() + count)

    def state(self) -> dict[str, Any]:
        """How it is getting on."""
        return self.record.progress()

    def _lives(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is None
        process = self.record.process()
        return process is not None and start_of(process.pid) is not None and is_same(process)

    def _kill(self) -> None:
        process = self.record.process()
        if process is None:
            return
        for pid in session_members(process.pid):  # its hooks are in its session
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def start(record: JobRecord, offered: Offered, job_file: JobFile) -> Child:
    """Start the process of a job. What cannot be started has its result at once."""
    record.write(JOB_FILE, job_file)
    try:
        with open(record.directory / "output.txt", "ab") as said:
            popen = subprocess.Popen(
                [sys.executable, "-m", "agents.daemon.job_process", str(record.directory)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                env=_environment(),
            )
    except OSError as fault:
        why = (fault.strerror or "").lower()
        record.end(Result(outcome="temporary", message=f"The job's process could not be started: {why}."))
        return Child(record, offered)
    record.write(PROCESS, Process(pid=popen.pid, started=start_of(popen.pid) or ""))
    return Child(record, offered, popen)


def _environment() -> dict[str, str]:
    """The daemon's own, with the place that this code comes from: it may run from a checkout."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{before}" if before else root}


def progress_text(state: dict[str, Any], *, names: bool) -> str:
    """The state as PROGRESS carries it; the name of the file that is being read only with `names`."""
    known = ("phase", "bytes_done", "bytes_total", "files_done", "files_total", "rate", "remaining")
    said = {name: state[name] for name in known if name in state}
    if names and isinstance(state.get("file"), str):
        said["file"] = state["file"][-LONGEST_NAME:]
    return json.dumps(said) if said else ""
