"""Showing how work goes: a bar on a terminal, one line a minute elsewhere, nothing with --quiet.

Workers only count; one thread of our own draws. What could not be read or placed is named at once, escaped.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from agents.commands.output import Output, named, size

if TYPE_CHECKING:
    from agents.engine.link import FileState

FRAME = 0.2
"""Seconds between two pictures on a terminal."""
LINE = 60.0
"""Seconds between two lines elsewhere."""


class Listener:
    """Base of the two listeners: errors, the drawing thread, and when to draw. Use it as a context."""

    action = ""

    def __init__(self, output: Output, *, terminal: bool | None = None) -> None:
        self._output = output
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._started = time.monotonic()
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._thread = threading.Thread(target=self._draw, name="strongroom-progress", daemon=True)
        self.errors = 0

    def __enter__(self) -> Any:
        if not self._output.quiet:
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

    def _draw(self) -> None:
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
    """`agents.engine.link.Progress`: counts what a backup does."""

    def __init__(self, output: Output, *, terminal: bool | None = None) -> None:
        super().__init__(output, terminal=terminal)
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

    def line(self) -> str:
        return (
            f"Backing up, {self._elapsed()}: {self._done:,} of {self._found:,} files ({size(self._found_bytes)}) found"
            f" so far, {self._fresh:,} new or changed, {size(self._sent)} sent, {self.errors} errors"
        )


class RestoreListener(Listener):
    """`agents.engine.restoring.RestoreProgress`: counts what a restore does."""

    def __init__(self, output: Output, files: int, total: int, *, terminal: bool | None = None) -> None:
        super().__init__(output, terminal=terminal)
        self._all_files, self._all_bytes = files, total
        self._files = self._bytes = 0

    def restored(self, files: int, size: int) -> None:
        with self._lock:
            self._files += files
            self._bytes += size

    def line(self) -> str:
        whole = f" of {self._all_files:,} ({size(self._all_bytes)})" if self._all_files else ""
        done = f"{self._files:,}{whole} files, {size(self._bytes)}"
        return f"Restoring, {self._elapsed()}: {done}, {self.errors} not as they were"
