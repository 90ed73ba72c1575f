"""Running a hook: a command that this machine's own configuration names, as a list and without a shell.

Whoever writes a policy says a name. What runs under it is this machine's business alone (law 8).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from agents.daemon.configuration import Hook
from agents.daemon.configuration_file import Loaded
from agents.errors import AgentError, Refused

TAIL = 4096
"""Bytes of a hook's output that are kept: its end, where the reason stands."""
GRACE = 10.0
"""Seconds between asking a hook to end and ending it."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR")
"""Of the daemon's environment a hook gets only this; STRONGROOM_PASSPHRASE above all is not among it."""


class HookFailed(AgentError):
    """A hook could not be run, took too long, or said that it failed. `tail` is the end of what it printed."""

    def __init__(self, what: str, advice: str = "", tail: str = "") -> None:
        super().__init__(what, advice)
        self.tail = tail


@dataclass(frozen=True)
class Ran:
    """What a hook did."""

    seconds: float
    tail: str


def find(loaded: Loaded, name: str) -> Hook:
    """The hook of this name. Raises Refused when this machine's configuration does not name it, or is not its own."""
    if loaded.distrust:
        raise Refused(f"The hook '{name}' was not run: {loaded.distrust}")
    hook = loaded.configuration.hooks.get(name)
    if hook is None:
        raise Refused(
            f"This machine has no hook '{name}'.",
            f"Add [hooks.{name}] with its command to the machine's agent.toml, or take the name out of the policy.",
        )
    return hook


def run(hook: Hook, name: str, facts: dict[str, str]) -> Ran:
    """Run a hook to its end; `facts` become STRONGROOM_… variables. Raises HookFailed."""
    began = time.monotonic()
    with start(hook, name, facts) as running:
        running.finish()
    return Ran(time.monotonic() - began, running.tail)


@contextlib.contextmanager
def start(hook: Hook, name: str, facts: dict[str, str], *, stream: bool = False) -> Iterator[Running]:
    """Start a hook; it and all that it started is ended when the context is left. Raises HookFailed.

    With `stream` its standard output is the caller's to read (`running.output`); else only the end of it is kept.
    """
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    environment |= {f"STRONGROOM_{key.upper()}": value for key, value in facts.items()}
    try:
        process = subprocess.Popen(
            hook.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if stream else subprocess.STDOUT,
            env=environment,
            process_group=0,
        )
    except (OSError, ValueError) as fault:
        why = (getattr(fault, "strerror", None) or str(fault)).lower()
        raise HookFailed(f"The hook '{name}' could not be started: {why}.", "Mend its command in agent.toml.") from None
    running = Running(process, hook, name, stream=stream)
    try:
        yield running
    finally:
        running.end()


class Running:
    """A hook that was started."""

    def __init__(self, process: subprocess.Popen[bytes], hook: Hook, name: str, *, stream: bool) -> None:
        self._process = process
        self._hook = hook
        self._name = name
        self._tail = b""
        self._late = False
        assert process.stdout is not None
        self.output: IO[bytes] = process.stdout
        said = process.stderr if stream else process.stdout
        assert said is not None
        self._said = said
        self._listener = threading.Thread(target=self._listen, name="strongroom-hook", daemon=True)
        self._listener.start()
        self._alarm = threading.Timer(hook.timeout_seconds, self._is_late)
        self._alarm.daemon = True
        self._alarm.start()

    @property
    def tail(self) -> str:
        """The end of what it printed."""
        self._listener.join(1)  # a process that it left behind may hold the pipe open: that is not waited for
        return self._tail.decode("utf-8", "replace").strip()

    def finish(self) -> None:
        """Wait until it ends by itself. Raises HookFailed unless it says that all went well."""
        code = self._process.wait()
        if self._late:
            raise HookFailed(
                f"The hook '{self._name}' took longer than {self._hook.timeout_seconds:g} s and was ended.",
                "Raise its timeout_seconds in agent.toml if it needs so long.",
                self.tail,
            )
        if code:
            advice = "Its last words stand in the job's lines." if self.tail else "It said nothing: run it by hand."
            raise HookFailed(f"The hook '{self._name}' failed ({_why(code)}).", advice, self.tail)

    def end(self) -> None:
        """Ask it and all that it started to end, then end them. Nothing happens when it has ended."""
        self._alarm.cancel()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        self.output.close()

    def _is_late(self) -> None:
        self._late = True
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
            return
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the pipe was closed under it
            while data := os.read(self._said.fileno(), 65_536):
                self._tail = (self._tail + data)[-TAIL:]


def _why(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
    return f"exit code {code}"
