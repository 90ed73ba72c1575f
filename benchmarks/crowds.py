"""Processes of simulated agents, and how they are told what to do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from benchmarks.embedded_platform import CHECKOUT

COMMAND_SECONDS = 1800.0


class Crowd:
    """A process of simulated agents; commands run side by side and are answered by number."""

    def __init__(self, enrollment: str, directory: Path, first: int, count: int) -> None:
        self.count = count
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.simulated_agents", enrollment, str(directory), str(first), str(count)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._number = 0
        threading.Thread(target=self._read, daemon=True).start()

    def start(self, verb: str, **said: Any) -> Future[dict[str, Any]]:
        """Send a command; its answer comes with the future."""
        self._number += 1
        answer = self._answers[self._number] = Future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, "number": self._number, **said}) + "\n")
        self._process.stdin.flush()
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._answers.pop(said.pop("number")).set_result(said)
        for answer in self._answers.values():
            answer.set_exception(RuntimeError("a process of simulated agents ended"))

    def stop(self) -> None:
        """End it, politely if it still listens."""
        try:
            self.start("end").result(30)
        except Exception:  # noqa: BLE001 - it is ended either way
            self._process.kill()
        self._process.wait()
