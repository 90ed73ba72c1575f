"""A list of byte strings of any length that never fills the memory: past a few megabytes it goes to a nameless file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO

IN_MEMORY = 4 << 20
"""Some tens of thousands of directory entries; more are on disk."""
_LENGTH = 4


class Spill:
    """Append, then read forwards or backwards. Each record stands between its lengths, so both ways work."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 - closed by close()
        self._end = 0
        self.count = 0

    def append(self, record: bytes) -> None:
        """Add one record."""
        length = len(record).to_bytes(_LENGTH, "big")
        self._file.seek(self._end)
        self._file.write(length + record + length)
        self._end += len(record) + 2 * _LENGTH
        self.count += 1

    def forwards(self) -> Iterator[bytes]:
        """Yield the records in the order in which they came."""
        position = 0
        while position < self._end:
            size = self._number(position)
            yield self._file.read(size)
            position += size + 2 * _LENGTH

    def backwards(self) -> Iterator[bytes]:
        """Yield the records, the last one first."""
        position = self._end
        while position > 0:
            size = self._number(position - _LENGTH)
            position -= size + 2 * _LENGTH
            self._file.seek(position + _LENGTH)
            yield self._file.read(size)

    def _number(self, position: int) -> int:
        self._file.seek(position, os.SEEK_SET)
        return int.from_bytes(self._file.read(_LENGTH), "big")

    def close(self) -> None:
        """Give the memory and the file back."""
        self._file.close()
