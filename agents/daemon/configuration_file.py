"""The configuration on disk: who may have written it, when it changed, and the last copy that was good."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from agents.daemon.configuration import Configuration, ConfigurationFault, parse
from agents.errors import NotFound
from agents.state import write_private

FILE, GOOD, BEFORE = "agent.toml", "agent.toml.good", "agent.toml.before"
MAX_FILE = 1 << 20
OWNER_ADVICE = "chown root, or the user who runs the daemon, and chmod go-w. Until then no hook runs."


@dataclass(frozen=True)
class Loaded:
    """A configuration in force. `distrust` says why nothing that the file lets the platform start may be started."""

    configuration: Configuration = field(default_factory=Configuration)
    text: bytes = b""
    exists: bool = False
    distrust: str = ""


def read(path: Path) -> Loaded:
    """Read and check a file; without one the defaults hold. Raises ConfigurationFault."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Loaded()
    except OSError as fault:
        raise ConfigurationFault(f"{path} cannot be read: {(fault.strerror or '').lower()}.") from fault
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise ConfigurationFault(f"{path} is not a file.", "Put a TOML file there.")
        text = file.read(MAX_FILE + 1)
    if len(text) > MAX_FILE:
        raise ConfigurationFault(f"{path} is larger than a configuration can be.", "Put a TOML file there.")
    return Loaded(parse(text, str(path)), text, exists=True, distrust=_distrust(path, info))


def _distrust(path: Path, info: os.stat_result) -> str:
    """Why somebody else than this machine's owner may have written the file; "" when nobody could."""
    if info.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to the user {info.st_uid}, and not to root or to the user who runs this. {OWNER_ADVICE}"
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others (mode {stat.S_IMODE(info.st_mode):04o}). {OWNER_ADVICE}"
    return ""


class ConfigurationFile:
    """`agent.toml` of one home, watched by its times. One thread uses it.

    Beside it lie `agent.toml.good`, the one that was taken last, and `agent.toml.before`, the one before that.
    """

    def __init__(self, home: Path, *, keep: bool = True) -> None:
        """`keep`: whether good files are copied; the daemon does so, and nobody else."""
        self._keep = keep
        self.path = home / FILE
        self.good_path = home / GOOD
        self.before_path = home / BEFORE
        self._seen: object = None
        self._candidate: object = None
        self.loaded = Loaded()
        self.fault: ConfigurationFault | None = None

    def refresh(self) -> bool:
        """Look whether the file changed. A bad one leaves the old configuration in force, and `fault` says why.

        A changed file is read when it has stayed the same from one look to the next: an editor may still be writing,
        and half a file can be good TOML. Returns whether the configuration in force, or the fault, is another one.
        """
        mark = self._mark()
        first = self._seen is None
        if mark == self._seen:
            return False
        if not first and mark != self._candidate:
            self._candidate = mark
            return False
        before = (self.loaded, self.fault and self.fault.what)
        self._take(first=first)
        self._seen = mark
        return before != (self.loaded, self.fault and self.fault.what)

    def _take(self, *, first: bool) -> None:
        try:
            loaded = read(self.path)
        except ConfigurationFault as fault:
            self.fault = fault
            if first:
                self.loaded = self._last_good()
        else:
            self.loaded, self.fault = loaded, None
            self._keep_good(loaded)

    def rollback(self) -> Path:
        """Put the last good file back that is not the present one; return which. Raises NotFound when there is none."""
        present = _content(self.path)
        for path in (self.good_path, self.before_path):
            text = _content(path)
            if text and text != present:
                parse(text, str(path))
                write_private(self.path, text)
                return path
        raise NotFound("There is no earlier good configuration.", f"Write {self.path} anew.")

    def _mark(self) -> object:
        try:
            info = self.path.stat()
        except OSError:
            return "none"
        # Owner and mode stand in it too: whether hooks may run hangs on them.
        return info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino, info.st_uid, info.st_mode

    def _keep_good(self, loaded: Loaded) -> None:
        if not self._keep or not loaded.text or loaded.distrust or loaded.text == _content(self.good_path):
            return
        with contextlib.suppress(OSError):  # a full disk costs the copy, not the configuration
            if self.good_path.exists():
                self.good_path.rename(self.before_path)
            write_private(self.good_path, loaded.text)

    def _last_good(self) -> Loaded:
        """What was in force before the daemon started, so that a bad file does not undo it."""
        try:
            return read(self.good_path)
        except ConfigurationFault:
            return Loaded()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
