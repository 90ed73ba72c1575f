"""A pack at targets as a file: read by ranges, through a cache on this host's disk.

Every block is asked of each target that has a good copy, in turn, so one target that is away or lost its object does
not end a restore. *Error is not absence*: only when every target has said that it has no such bytes is that said here.
Cold storage is never asked for anything here: a scrub or a compaction that met it would cost money unasked.
"""

from __future__ import annotations

import errno
import io
import logging
from collections.abc import Callable, Sequence

from backup_platform.catalog.block_cache import BlockCache
from backup_platform.catalog.errors import RecordCold, RecordUnavailable
from backup_platform.secret_box import SecretUnreadable
from backup_platform.storage.base import NotFound, NotThawed, Store, StoreError

logger = logging.getLogger(__name__)

BLOCK = 4 * 1024 * 1024
"""As long as the longest chunk: a lone record costs one or two requests."""
AHEAD = 2
"""Blocks asked for at once where somebody reads on: fewer waits for an answer, at most 8 MiB of memory a file."""

Opener = Callable[[], Store]


class ColdBytes(OSError):
    """These bytes are whole, as far as anybody knows, and in a cold storage class at every target that answered."""


class RemoteFile(io.RawIOBase):
    """A readable, seekable file of `size` bytes. Reads come back whole, or short at the end of what there is.

    OSError ENODATA when no target has these bytes (damage of this part), EHOSTUNREACH when one could not be asked,
    ColdBytes when one has them in a cold class.
    """

    def __init__(
        self, sources: Sequence[tuple[Opener, str]], name: str, size: int, cache: BlockCache | None = None
    ) -> None:
        """`sources`: how to open each store, and the key there. `name`: the cache's name for the pack."""
        super().__init__()
        self._sources = list(sources)
        self._name, self._size, self._cache = name, size, cache
        self._position = 0
        self._held: dict[int, memoryview] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """As everywhere; what lies within one block is copied once only: new memory costs more than all else here."""
        number, skip = divmod(self._position, BLOCK)
        if size is None or size < 0 or skip + size > BLOCK or self._position >= self._size:
            return super().read(-1 if size is None else size) or b""
        piece = bytes(self._block(number)[skip : skip + size])
        self._position += len(piece)
        return piece

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        room = memoryview(buffer).cast("B")
        done = 0
        while done < len(room) and self._position < self._size:
            number, skip = divmod(self._position, BLOCK)
            piece = self._block(number)[skip : skip + len(room) - done]
            if not piece:
                break
            room[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def _block(self, number: int) -> memoryview:
        if number in self._held:
            return self._held[number]
        data = self._cache.read(self._name, number, self._length(number)) if self._cache else None
        self._held = self._fetch(number) if data is None else {number: memoryview(data)}
        return self._held[number]

    def _length(self, number: int) -> int:
        return min(BLOCK, self._size - number * BLOCK)

    def _fetch(self, number: int) -> dict[int, memoryview]:
        """Ask for a block, and the next one too where the block before was read."""
        count = AHEAD if number - 1 in self._held or self._was_read(number - 1) else 1
        start = number * BLOCK
        data = memoryview(self._ask(start, min(count * BLOCK, self._size - start)))
        blocks = {number + i: data[i * BLOCK : (i + 1) * BLOCK] for i in range(count) if i * BLOCK < len(data) or not i}
        if self._cache is not None:
            for each, block in blocks.items():
                if len(block) == self._length(each):
                    self._cache.keep(self._name, each, block)
        return blocks

    def _was_read(self, number: int) -> bool:
        return self._cache is not None and number >= 0 and self._cache.has(self._name, number)

    def _ask(self, offset: int, length: int) -> bytes:
        """These bytes from the first source that gives all of them; else the most that one gave."""
        best, away, cold = b"", 0, 0
        for opener, key in self._sources:
            try:
                data = opener().get(key, offset, length)
            except NotFound:
                logger.warning("A copy that should be there is not.", extra={"key": key})
                continue
            except NotThawed:
                cold += 1
                continue
            except (StoreError, SecretUnreadable) as fault:
                logger.info("A target could not be read.", extra={"key": key, "fault": str(fault)})
                away += 1
                continue
            if len(data) == length:
                return data
            best = max(best, data, key=len)
        if cold:  # even where another is away: what is thawed can be read whether that one comes back or not
            raise ColdBytes(errno.EHOSTUNREACH, "the pack is in a cold storage class")
        if away:
            raise OSError(errno.EHOSTUNREACH, "no target that has this pack can be read just now")
        if not best:
            raise OSError(errno.ENODATA, "no target has these bytes")
        return best


def unavailable(fault: OSError) -> RecordUnavailable:
    """What a read that failed says to whoever wanted a record: that it is cold, or only that it cannot be read now."""
    if isinstance(fault, ColdBytes):
        return RecordCold()
    return RecordUnavailable(f"A pack cannot be read just now ({type(fault).__name__}).")
