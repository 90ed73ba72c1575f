"""One whole platform for the tests of a module, started by `manage.py up` as a user starts it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backup_platform.embedded.child import ends_with_parent

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 240
STOP_SECONDS = 90
OWN = ("STRONGROOM_", "DATABASE_", "REDIS_", "DJANGO_")


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """A shell's environment that knows of no instance but the one in HOME."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    ports = {"STRONGROOM_WEB_PORT": "0", "STRONGROOM_GATEWAY_PORT": "0"}
    return {**kept, "STRONGROOM_HOME": str(home), **ports, **more}


def manage(
    home: Path, *arguments: str, seconds: float = START_SECONDS, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env=clean_environment(home, **more),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def is_alive(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Returns when TRUE() holds; fails, naming WHAT was awaited, when it does not within SECONDS."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.05)


@dataclass
class Platform:
    """A running `up`."""

    directory: Path
    interpreter: str = sys.executable
    spawn_options: dict[str, Any] = field(default_factory=dict)
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Longer than any unix socket's address may be.
        self.home = self.directory / ("long-name-" * 20)
        self.ready_file = self.directory / "ready.json"
        self.output = self.directory / "up.log"

    def start(self, seconds: float = START_SECONDS) -> Platform:
        """Start and wait until the ready file is there."""
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [self.interpreter, "manage.py", "up", "--ready-file", str(self.ready_file)],
                cwd=REPOSITORY,
                env=clean_environment(self.home, **self.more),
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=ends_with_parent(signal.SIGTERM),
                **self.spawn_options,
            )
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, "the ready file", seconds)
        assert self.process.poll() is None, self.said()
        return self

    def ready(self) -> dict[str, Any]:
        """What the ready file says now."""
        return json.loads(self.ready_file.read_text())

    def said(self) -> str:
        """What `up` printed, and the end of each log."""
        logs = [f"== {log.name}\n{log.read_text()[-1500:]}" for log in (self.home / "logs").glob("*.log")]
        return "\n".join([self.output.read_text(), *logs])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def remove(self) -> None:
        """Nothing stays, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        described = self.home / "instance.json"
        if described.exists():
            shutil.rmtree(json.loads(described.read_text())["servers"], ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """A platform in a home with a name of 200 bytes, on free ports."""
    # Not below pytest's own directory: the account that runs the servers cannot enter that.
    directory = Path(tempfile.mkdtemp(prefix="sr-up-"))
    directory.chmod(0o711)
    running = Platform(directory)
    try:
        yield running.start()
    finally:
        running.remove()
