"""One child process: started in a session of its own, logged to a file, stopped within a bounded time.

A session of its own, so that Ctrl-C reaches only the supervisor, which then stops everything in order. If the
supervisor itself is killed, the kernel sends each child a signal (PR_SET_PDEATHSIG): nothing is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG_LIMIT = 10 * 1024 * 1024
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Recipe:
    """How to run one process, and how to know that it serves.

    READY returns quietly when the process serves and raises an OSError-like fault while it does not (yet).
    SILENT, where there is one, tells that the process lives but has stopped doing its work.
    """

    name: str
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    log: Path
    ready: Callable[[], Awaitable[None]]
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals | None = None  # if `up` itself is killed; None: the stop signal
    stop_seconds: float = 15
    ready_seconds: float = 120
    silent: Callable[[], Awaitable[bool]] | None = None
    standard_input: bytes = field(default=b"", repr=False)
    spawn_options: dict[str, Any] = field(default_factory=dict)


class Child:
    """The process of one recipe, started as often as need be."""

    def __init__(self, recipe: Recipe, inherited: int | None = None) -> None:
        """INHERITED is a file descriptor that the process keeps open for as long as it lives."""
        self.recipe = recipe
        self._inherited = () if inherited is None else (inherited,)
        self.process: asyncio.subprocess.Process | None = None
        self._session_gone = False

    @property
    def pid(self) -> int:
        """The process id of the latest start; 0 before the first."""
        return self.process.pid if self.process else 0

    @property
    def alive(self) -> bool:
        """Whether the process of the latest start still runs."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start the process; its output goes to the end of its log."""
        bound_log(self.recipe.log)
        orphan_signal = self.recipe.orphan_signal or self.recipe.stop_signal
        with self.recipe.log.open("ab") as output:
            self.process = await asyncio.create_subprocess_exec(
                *self.recipe.command,
                env=self.recipe.environment,
                stdin=asyncio.subprocess.PIPE if self.recipe.standard_input else asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=self._inherited,
                preexec_fn=ends_with_parent(orphan_signal),
                **self.recipe.spawn_options,
            )
            self._session_gone = False
        if self.process.stdin:
            self.process.stdin.write(self.recipe.standard_input)
            self.process.stdin.close()

    async def wait(self) -> int:
        """The exit code (negative: the signal that ended it)."""
        if self.process is None:
            raise RuntimeError("wait() before start()")
        return await self.process.wait()

    async def stop(self) -> None:
        """Ask, wait, then insist; the whole session is gone when this returns.

        Once for each start: later the number of the session may be somebody else's.
        """
        if self.process is None or self._session_gone:
            return
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(self.recipe.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), self.recipe.stop_seconds)
        if not self._session_gone:
            self._session_gone = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The end of the log, for a person who must find out why a process died."""
        try:
            with self.recipe.log.open("rb") as handle:
                handle.seek(max(0, handle.seek(0, os.SEEK_END) - 4096))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])


def ends_with_parent(number: signal.Signals) -> Callable[[], None]:
    """For `preexec_fn`: the kernel sends the child this signal when its parent dies, however that dies.

    One system call, prepared before the fork: nothing in it can meet a lock that another thread held.
    """
    return lambda: _libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)


def bound_log(log: Path) -> None:
    """Keep LOG and one older part, ten megabytes each. Its writer appends, so it is emptied in place."""
    try:
        if log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
    except FileNotFoundError:
        log.touch(mode=0o600)
