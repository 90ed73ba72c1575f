"""Showing how work goes: a bar on a terminal, one line a minute elsewhere, nothing with --quiet.

Workers only count; one thread of our own draws. What could not be read or placed is named at once, escaped.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from agents.commands.output import Output, named, size
from agents.engine.paths import display

if TYPE_CHECKING:
    from agents.engine.link import FileState

FRAME = 0.2
"""Seconds between two pictures on a terminal."""
LINE = 60.0
"""Seconds between two lines elsewhere."""


class Measured:
    """Adds to a state how fast it goes and how long it will last. The rate is that of the last half minute or so."""

    SPAN = 30.0

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=64)

    def completed(self, state: dict[str, Any]) -> dict[str, Any]:
        """The state with `rate` (bytes a second) and `remaining` (seconds, None when nobody can say)."""
        now, done = time.monotonic(), state["bytes_done"]
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > self.SPAN:
            self._seen.popleft()
        since, before = self._seen[0]
        rate = int((done - before) / (now - since)) if now > since else 0
        total = state["bytes_total"]
        return {**state, "rate": rate, "remaining": int((total - done) / rate) if rate > 0 and total else None}


class Listener:
    """Base of the two listeners: errors, the drawing thread, and when to draw. Use it as a context."""

    action = ""

    def __init__(self, output: Output, *, terminal: bool | None = None, every: float | None = None) -> None:
        """`every`: seconds between two records for programs; None for none."""
        self._every = every
        self._output = output
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._thread = threading.Thread(target=self._draw, name="strongroom-progress", daemon=True)
        self.errors = 0

    def __enter__(self) -> Any:
        if not self._output.quiet or self._every is not None:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(2)

    def error(self, path: bytes, reason: str) -> None:
        """Name something that could not be dealt with as it should."""
        with self._lock:
            self.errors += 1
            self._output.record("error", **named(path), reason=reason)
            if not self._output.as_json:
                self._output.complain(path, reason)

    def line(self) -> str:
        """One line that says how far it is."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """The same for programs: phase, bytes, files. Never a name, unless the listener was told to."""
        raise NotImplementedError

    def _record(self, every: float) -> None:
        measured = Measured()
        while True:
            with self._lock:
                said = self.state()
            self._output.record("progress", **measured.completed(said))
            if self._stopped.wait(every):
                return

    def _draw(self) -> None:
        if self._every is not None:
            self._record(self._every)
            return
        if self._terminal and not self._output.as_json:
            self._draw_bar()
            return
        while not self._stopped.wait(LINE):
            self._output.note(self.line())

    def _draw_bar(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        spinner = Spinner("dots", text="")
        with Live(spinner, console=Console(stderr=True), transient=True, refresh_per_second=1 / FRAME):
            while not self._stopped.wait(FRAME):
                spinner.update(text=self.line())

    def _elapsed(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class BackupListener(Listener):
    """`agents.engine.link.Progress`: counts what a backup does.

    `expected` is what the last backup of the same sources held (files, bytes), zeros when that is not known.
    """

    def __init__(
        self,
        output: Output,
        *,
        terminal: bool | None = None,
        every: float | None = None,
        expected: tuple[int, int] = (0, 0),
        names: bool = False,
    ) -> None:
        """`names`: say in `state` which file is being read. Without it nobody here ever hears of one."""
        super().__init__(output, terminal=terminal, every=every)
        self._expected = expected
        self._at = b""
        self.reading = self._is_at if names else None
        self._finishing = False
        self._found = self._found_bytes = self._done = self._fresh = self._sent = 0

    def scanned(self, files: int, size: int) -> None:
        with self._lock:
            self._found += files
            self._found_bytes += size

    def file(self, state: FileState, count: int = 1) -> None:
        with self._lock:
            self._done += count
            self._fresh += count if state != "unmodified" else 0

    def sent(self, size: int) -> None:
        with self._lock:
            self._sent += size

    def _is_at(self, path: bytes) -> None:
        self._at = path

    def finishing(self) -> None:
        """Everything was read; what is left is with the server."""
        self._finishing = True

    def state(self) -> dict[str, Any]:
        files, whole = self._expected
        started = "saving" if self._found else "scanning"
        return {
            **({"file": display(self._at)} if self._at and not self._finishing else {}),
            "phase": "finishing" if self._finishing else started,
            "bytes_done": self._found_bytes,
            "bytes_total": whole if whole >= self._found_bytes and whole else None,
            "files_done": self._done,
            "files_total": files if files >= self._done and files else None,
        }

    def line(self) -> str:
        return (
            f"Backing up, {self._elapsed()}: {self._done:,} of {self._found:,} files ({size(self._found_bytes)}) found"
            f" so far, {self._fresh:,} new or changed, {size(self._sent)} sent, {self.errors} errors"
        )


class RestoreListener(Listener):
    """`agents.engine.restoring.RestoreProgress`: counts what a restore does."""

    def __init__(
        self, output: Output, files: int, total: int, *, terminal: bool | None = None, every: float | None = None
    ) -> None:
        super().__init__(output, terminal=terminal, every=every)
        self._all_files, self._all_bytes = files, total
        self._files = self._bytes = 0
        self._waiting = False

    def waits(self, waiting: bool) -> None:
        """Whether cold storage is waited for."""
        self._waiting = waiting

    def restored(self, files: int, size: int) -> None:
        with self._lock:
            self._files += files
            self._bytes += size

    def state(self) -> dict[str, Any]:
        return {
            "phase": "thawing" if self._waiting else "restoring",
            "bytes_done": self._bytes,
            "bytes_total": self._all_bytes or None,
            "files_done": self._files,
            "files_total": self._all_files or None,
        }

    def line(self) -> str:
        whole = f" of {self._all_files:,} ({size(self._all_bytes)})" if self._all_files else ""
        done = f"{self._files:,}{whole} files, {size(self._bytes)}"
        doing = "Waiting for cold storage" if self._waiting else "Restoring"
        return f"{doing}, {self._elapsed()}: {done}, {self.errors} not as they were"
