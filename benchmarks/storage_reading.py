"""Files that are read from the disk, and not from memory: how the page cache is emptied, and whether it was.

No right is needed: the kernel drops a clean file's pages when it is asked to. What stays (on tmpfs, all of it) is told
by reads that may not wait for a disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measuring import MIB

STEP = 4 * MIB
FEW = 0.01
"""A share of pages this small in memory changes no figure."""


def forget(files: Sequence[Path]) -> float:
    """Have everything written and no page of these files in memory; the share of probed pages that stayed there."""
    os.sync()
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return share_in_memory(files)


def share_in_memory(files: Sequence[Path]) -> float:
    """Of one page in each four MiB, the share that is in memory; 1.0 where the file system cannot tell."""
    asked = found = 0
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            for offset in range(0, os.fstat(descriptor).st_size, STEP):
                asked += 1
                found += _is_in_memory(descriptor, offset)
        finally:
            os.close(descriptor)
    return found / asked if asked else 0.0


def read_plainly(files: Sequence[Path], readers: int) -> int:
    """Read files whole, a MiB at a time into the same memory, and nothing else; how many bytes."""
    with ThreadPoolExecutor(readers) as pool:
        return sum(pool.map(_read, files))


def _read(file: Path) -> int:
    room, size = bytearray(MIB), 0
    with open(file, "rb", buffering=0) as handle:
        while count := handle.readinto(room):
            size += count
    return size


def _is_in_memory(descriptor: int, offset: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    except OSError:
        return True


def told(share: float, what: str) -> list[str]:
    """A sentence for the reader of the figures, where memory was not empty."""
    if share <= FEW:
        return []
    return [f"{share:.0%} of the pages of {what} stayed in memory: these figures are not the disk's."]
