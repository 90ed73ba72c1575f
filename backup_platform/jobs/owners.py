"""Names of who has something in hand, by which a dead process is known on the machine that it ran on.

A claim of a process that was killed ends by itself, but only when its time is over. Whoever looks from the same machine
need not wait for that: the name says which process it was. Of a process elsewhere nothing is known, and nothing is
guessed: another machine, another container and the time before a restart are all *elsewhere*.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache
from hashlib import blake2s
from pathlib import Path

SHOWN = 24
"""Characters of the machine's name, for people who read a row."""
NAMESPACE, BOOT = Path("/proc/self/ns/pid"), Path("/proc/sys/kernel/random/boot_id")
"""What makes a process id mean one process: where this system does not say, no process is ever called dead."""


def new_owner() -> str:
    """A name that nobody had before, of at most 64 characters: machine, place, process, chance."""
    return f"{socket.gethostname()[:SHOWN]}:{_here()}:{os.getpid()}:{secrets.token_hex(6)}"


def is_gone(owner: str) -> bool:
    """Whether the process that took this name has certainly ended. False also when nobody here can know."""
    place, process = _parts(owner)
    if not place or place != _here():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's, so it is
        return False
    return False


def _parts(owner: str) -> tuple[str, int]:
    parts = owner.rsplit(":", 3)
    if len(parts) != 4 or not parts[2].isdecimal() or int(parts[2]) < 1:
        return "", 0
    return parts[1], int(parts[2])


@cache
def _here() -> str:
    """Twelve characters for this machine, this boot of it and this space of process ids; empty: it cannot be told."""
    try:
        told = [socket.gethostname(), BOOT.read_text(), os.readlink(NAMESPACE)]
    except OSError:
        return ""
    return blake2s("\n".join(told).encode(), digest_size=6).hexdigest()
