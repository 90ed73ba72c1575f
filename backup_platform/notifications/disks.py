"""Disks of this host that are nearly full: under the home, the spool and the local store. The platform's own alert."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from backup_platform.notifications.services import Finding
from backup_platform.notifications.words import AlertKind, Level

NEARLY = 0.90
AS_GOOD_AS = 0.97
PARTS = ("store", "spool", ".")


def turn() -> str:
    """The name of this host's turn."""
    return f"disk@{_host()}"[:32]


def subject() -> str:
    """What such an alert of this host is about."""
    return f"disk:{_host()}"[:100]


def nearly_full() -> Iterator[Finding]:
    """One finding for each file system of this host that is nearly full."""
    seen: set[int] = set()
    for part in PARTS:
        path = Path(settings.STRONGROOM_HOME) / part
        try:
            device, usage = os.stat(path).st_dev, shutil.disk_usage(path)
        except OSError:
            continue  # not there yet, or kept elsewhere
        if device in seen:
            continue
        seen.add(device)
        # Reckoned as `df` does: what only the administrator may still use is not free.
        share = usage.used / max(usage.used + usage.free, 1)
        if share >= NEARLY:
            yield _finding(part, share)


def _finding(part: str, share: float) -> Finding:
    level = Level.ERROR if share >= AS_GOOD_AS else Level.WARNING
    place = {".": "home"}.get(part, part)
    return Finding(
        None, AlertKind.DISK, subject(), level, f"The disk under the {place} of {_host()} is {share:.0%} full.",
        "Add space or expire snapshots. When it is full, machines cannot back up until there is room.",
        f"disk:{_host()}:{place}",
    )  # fmt: skip


def _host() -> str:
    return socket.gethostname()[:60]
