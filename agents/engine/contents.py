"""Reading a file's content once, within bounds: small files whole, large ones as data and holes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

#: Holes below this are read like data; skipping them would cut chunks for nothing.
LEAST_HOLE = 1 << 20
#: A sparse map is a hint for restoring; beyond this many holes it is left out.
MOST_HOLES = 1024


def read_small(descriptor: int, size: int) -> bytes:
    """The first `size` + 1 bytes of a file, so that one that has grown is noticed; fewer where it ends."""
    data = os.read(descriptor, size + 1)
    if len(data) >= size or not data:
        return data
    parts = [data]
    left = size + 1 - len(data)
    while left > 0 and (data := os.read(descriptor, left)):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def read_to_end(descriptor: int, limit: int) -> bytes:
    """A file from its start to its end, whatever its size is said to be; `limit` bytes at most."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while limit > 0 and (data := os.read(descriptor, limit)):
        parts.append(data)
        limit -= len(data)
    return b"".join(parts)


def is_untouched(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether nothing was written to a file between two looks at it."""
    return (
        before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
        and before.st_size == after.st_size
    )


def ranges(descriptor: int, info: os.stat_result) -> Iterator[tuple[int, int, bool]]:
    """The file as (start, end, is a hole), in order and without gaps. Holes below LEAST_HOLE count as data."""
    size = info.st_size
    if info.st_blocks * 512 >= size:
        yield 0, size, False
        return
    start = position = 0
    while position < size:
        hole, end = _next_hole(descriptor, position, size)
        position = end
        if end - hole < LEAST_HOLE:
            continue
        if start < hole:
            yield start, hole, False
        yield hole, end, True
        start = end
    if start < size:
        yield start, size, False


def _next_hole(descriptor: int, position: int, size: int) -> tuple[int, int]:
    """Start and end of the next hole at or after `position`; (size, size) if there is none."""
    try:
        hole = min(os.lseek(descriptor, position, os.SEEK_HOLE), size)
        if hole >= size:
            return size, size
        return hole, min(os.lseek(descriptor, hole, os.SEEK_DATA), size)
    except OSError as fault:
        if fault.errno == errno.ENXIO:
            return hole, size
        if fault.errno in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
            return size, size
        raise


class RangeReader:
    """Fills buffers from one range of a file. `position` tells how far it came; short if the file ended before."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self._descriptor = descriptor
        self._end = end
        self.position = start

    def fill(self, buffer: memoryview) -> int:
        """Read into the front of `buffer`; 0 at the end of the range or file."""
        wanted = min(len(buffer), self._end - self.position)
        if wanted <= 0:
            return 0
        count = os.preadv(self._descriptor, [buffer[:wanted]], self.position)
        self.position += count
        return count
