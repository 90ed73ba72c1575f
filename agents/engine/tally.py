"""What a backup counts as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agents.engine.link import FileState, Progress, SourceFault

#: So many faults are named in the result; all are counted.
MOST_NAMED = 1000
#: The listener is told in lots: a call a file would cost more than comparing it.
LOT = 512


class Tally:
    """Counts for one backup. One thread uses it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        #: Called with each file that is about to be read, if the listener wants names: mostly it does not.
        self.reading: Callable[[bytes], None] | None = getattr(progress, "reading", None)
        self._faults: list[SourceFault] = []
        self._named: set[bytes] = set()
        self._scanned = 0
        self._scanned_bytes = 0
        self.errors = 0
        self.bytes_read = 0
        self.states: dict[FileState, int] = {"new": 0, "changed": 0, "unmodified": 0}
        self._told: dict[FileState, int] = dict(self.states)
        #: Later rounds repeat what the first one found: they only count what they read.
        self.repeating = False

    def error(self, path: bytes, reason: str) -> None:
        """A source could not be saved as it should; each path counts once."""
        if path in self._named:
            return
        self.errors += 1
        if len(self._faults) < MOST_NAMED:
            self._named.add(path)
            self._faults.append(SourceFault(path, reason))
        self._progress.error(path, reason)

    def scanned(self, files: int, size: int) -> None:
        """So many files were found."""
        if self.repeating:
            return
        self._scanned += files
        self._scanned_bytes += size
        if self._scanned >= LOT:
            self.tell()

    def grown(self, size: int) -> None:
        """A stream gave so many more bytes."""
        self._progress.scanned(0, size)

    def file(self, state: FileState, count: int = 1) -> None:
        """So many files are dealt with."""
        if not self.repeating:
            self.states[state] += count

    def restart(self) -> None:
        """The pass begins anew: what the listener was told stays told, what is counted starts at nothing."""
        if not self.repeating:
            self._scanned = self._scanned_bytes = 0
            self.states = dict.fromkeys(self.states, 0)

    def tell(self) -> None:
        """Tell the listener what it does not know yet."""
        if self._scanned:
            self._progress.scanned(self._scanned, self._scanned_bytes)
            self._scanned = self._scanned_bytes = 0
        for state, count in self.states.items():
            if count > self._told[state]:
                self._progress.file(state, count - self._told[state])
                self._told[state] = count

    @property
    def faults(self) -> Sequence[SourceFault]:
        return tuple(self._faults)
