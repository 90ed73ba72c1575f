"""Stepping back behind the machine's own work: processor and disk."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Mapping
from typing import Any

from agents.daemon.configuration import Limits

# ioprio_set(2) has no wrapper in the C library. Its number is the kernel's, by architecture.
_IOPRIO_SET = {
    "x86_64": 251,
    "aarch64": 30,
    "riscv64": 30,
    "i686": 289,
    "i386": 289,
    "armv7l": 314,
    "ppc64le": 273,
    "s390x": 282,
}
_WHO_PROCESS = 1
_CLASS_SHIFT = 13
_IDLE = 3
_LOWEST_LEVEL = 7


def step_back(limits: Limits, settings: Mapping[str, Any]) -> None:
    """Give this process the lower of the priorities that machine and policy ask for. What is impossible is left."""
    wished = settings.get("limits.niceness")
    niceness = max(limits.niceness, wished if isinstance(wished, int) else 0)
    present = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness > present:
        with contextlib.suppress(OSError):
            os.nice(min(niceness, 19) - present)
    if limits.io_class == "idle" or settings.get("limits.io_class") == "idle":
        set_idle_io()


def set_idle_io() -> bool:
    """Let this process read and write only while nobody else does. False where that is not to be had."""
    number = _IOPRIO_SET.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(number, _WHO_PROCESS, 0, _IDLE << _CLASS_SHIFT | _LOWEST_LEVEL) == 0)
