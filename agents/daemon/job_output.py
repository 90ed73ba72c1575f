"""What a command says while it does a job: its progress, its summary, its complaints. Names of files go no further."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from agents.daemon.job_records import LINE_LENGTH, LINES, MOST_LINES, PROGRESS, Line

REASONS = 20
"""Different reasons of complaints that are told one by one."""


class JobLog:
    """The job's lines, appended to its directory at once."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LINES
        self._written = 0

    def say(self, level: str, text: str) -> None:
        """Append a line (or several, if the text has them)."""
        for part in text.splitlines():
            if part.strip():
                self._append(Line(level, part[:LINE_LENGTH]))

    def _append(self, line: Line) -> None:
        self._written += 1
        if self._written > MOST_LINES:
            return
        if self._written == MOST_LINES:
            line = Line("warning", "More was said; it is not kept.")
        with contextlib.suppress(OSError), open(self._path, "ab") as file:  # a full disk must not end the backup
            file.write(msgspec.json.encode(line) + b"\n")


class CommandOutput(io.TextIOBase):
    """Standard output of a `strongroom … --json` in this process."""

    def __init__(self, directory: Path) -> None:
        self._progress = directory / PROGRESS
        self._rest = ""
        self._lock = threading.Lock()
        self.summary: dict[str, Any] = {}
        self.reasons: Counter[str] = Counter()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._rest += text
            *lines, self._rest = self._rest.split("\n")
            for line in lines:
                self._hear(line)
        return len(text)

    def _hear(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        kind = said.pop("message_type", "") if isinstance(said, dict) else ""
        if kind == "progress":
            self._replace(said)
        elif kind == "summary":
            self.summary = said
        elif kind == "error":
            self._count(str(said.get("reason", "")))

    def _count(self, reason: str) -> None:
        if reason in self.reasons or len(self.reasons) < REASONS:
            self.reasons[reason] += 1
        else:
            self.reasons["for other reasons"] += 1

    def _replace(self, said: dict[str, Any]) -> None:
        """The newest state, whole at any time; it need not survive a power cut."""
        temporary = self._progress.with_suffix(".new")
        with contextlib.suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(said))
            os.replace(temporary, self._progress)


class CommandComplaints(io.TextIOBase):
    """Standard error of the same: notes become lines, and the last word becomes the cause of failure."""

    def __init__(self, log: JobLog) -> None:
        self._log = log
        self._rest = ""
        self.message = ""
        self.advice = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._rest += text
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            self._hear(line)
        return len(text)

    def _hear(self, line: str) -> None:
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if said.get("message_type") == "exit_error":
                    self.message = str(said.get("public") or said.get("message", ""))
                    self.advice = str(said.get("advice", ""))
                    return
        level = "warning" if line.startswith("warning: ") else "info"
        self._log.say(level, line.removeprefix("warning: "))
