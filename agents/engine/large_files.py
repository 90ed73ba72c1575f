"""Reading one large file into chunks: data is cut by content, long holes become chunks of zeros unread."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from blake3 import blake3

from agents.engine.chunking import Chunker, Filler
from agents.engine.contents import MOST_HOLES, RangeReader, is_untouched, ranges
from agents.engine.faults import Cancelled
from agents.engine.pipeline import Pipeline
from agents.engine.slots import Reference, Slot
from protocol.stored.manifests import MAX_EXTENTS

#: A file that changes while it is read is read so often; larger ones than REREAD_BELOW only once.
READS = 3
REREAD_BELOW = 64 << 20
#: Hashing holes beyond this would take longer than it is worth: such a file has no whole-file digest.
MOST_HASHED_HOLES = 64 << 30
#: A file with more holes than this is refused: anybody may make one of eight exbibytes, and nobody could wait for it.
MOST_HOLE_BYTES = 64 << 40
ZEROS = bytes(4 << 20)


@dataclass(slots=True)
class LargeContent:
    """What was read. `references` are those since the last full part, `part` is that part's successor's number."""

    references: list[Reference] = field(default_factory=list)
    size: int = 0
    digest: bytes = b""
    sparse: list[tuple[int, int]] = field(default_factory=list)
    part: int = 0
    changed: bool = False


#: Told a full part: its references and number.
PartListener = Callable[[list[Reference], int], None]


class LargeFileReader:
    """Reads files one after the other; chunks of zeros are made once for all of them."""

    def __init__(self, pipeline: Pipeline, chunker: Chunker, cancel: threading.Event) -> None:
        self._pipeline = pipeline
        self._chunker = chunker
        self._cancel = cancel
        self._zeros: dict[int, Slot] = {}
        #: Content bytes read from sources so far.
        self.bytes_read = 0

    def read(self, descriptor: int, group: str, on_part: PartListener) -> tuple[LargeContent, os.stat_result]:
        """Read until it was not changed meanwhile, a few times at most; return it with the fstat that it belongs to.

        OSError when it cannot be read, or has more holes than anybody could wait for.
        """
        while True:
            for attempt in range(READS):
                before = os.fstat(descriptor)
                if before.st_size - before.st_blocks * 512 > MOST_HOLE_BYTES:
                    raise OSError(errno.EFBIG, "it was not saved: its holes are too large to wait for")
                content = self._read_once(descriptor, before, group, on_part)
                content.changed = content.size != before.st_size or not is_untouched(before, os.fstat(descriptor))
                final = attempt == READS - 1 or before.st_size > REREAD_BELOW
                # Parts that were told cannot be taken back.
                if not content.changed or final or content.part:
                    return content, before

    def read_stream(self, fill: Filler, group: str, on_part: PartListener) -> LargeContent:
        """Read what has no size and can be read once only, to its end. Whatever `fill` raises ends it."""
        content, hasher = LargeContent(), _WholeHash()
        self._cut(content, fill, group, hasher, on_part)
        content.digest = hasher.digest()
        self.bytes_read += content.size
        return content

    def _read_once(self, descriptor: int, info: os.stat_result, group: str, on_part: PartListener) -> LargeContent:
        content = LargeContent()
        hasher = _WholeHash()
        for start, end, is_hole in ranges(descriptor, info):
            if is_hole:
                if len(content.sparse) <= MOST_HOLES:
                    content.sparse.append((start, end - start))
                self._hole(content, end - start, group, hasher, on_part)
            else:
                ended = self._data(content, descriptor, start, end, group, hasher, on_part)
                if ended < end:
                    break
        if len(content.sparse) > MOST_HOLES:
            content.sparse = []
        content.digest = hasher.digest()
        return content

    def _data(
        self,
        content: LargeContent,
        descriptor: int,
        start: int,
        end: int,
        group: str,
        hasher: _WholeHash,
        on_part: PartListener,
    ) -> int:
        reader = RangeReader(descriptor, start, end)
        self._cut(content, reader.fill, group, hasher, on_part)
        self.bytes_read += reader.position - start
        return reader.position

    def _cut(self, content: LargeContent, fill: Filler, group: str, hasher: _WholeHash, on_part: PartListener) -> None:
        for view in self._chunker.cut(fill):
            if self._cancel.is_set():
                raise Cancelled
            data = bytes(view)
            hasher.update(data)
            slot = Slot(length=len(data))
            self._pipeline.submit((data,), slot, group)
            self._append(content, slot, len(data), on_part)

    def _hole(self, content: LargeContent, length: int, group: str, hasher: _WholeHash, on_part: PartListener) -> None:
        hasher.zeros(length)
        while length:
            if self._cancel.is_set():
                raise Cancelled
            piece = min(length, len(ZEROS))
            self._append(content, self._zero_slot(piece, group), piece, on_part)
            length -= piece

    def _zero_slot(self, length: int, group: str) -> Slot:
        slot = self._zeros.get(length)
        if slot is None:
            if len(self._zeros) > MAX_EXTENTS:
                self._zeros.clear()
            slot = self._zeros[length] = Slot(length=length)
            self._pipeline.submit((ZEROS[:length],), slot, group)
        return slot

    def _append(self, content: LargeContent, slot: Slot, length: int, on_part: PartListener) -> None:
        # A full part is told when it is known not to be the last one.
        if len(content.references) == MAX_EXTENTS:
            on_part(content.references, content.part)
            content.references = []
            content.part += 1
        content.references.append((slot, 0, length))
        content.size += length


class _WholeHash:
    """The BLAKE3 of a whole file, which is not made where one chunk is the whole file: its `h` is the same."""

    def __init__(self) -> None:
        self._hasher = blake3()
        self._first: bytes | None = None
        self._updates = 0
        self._hole_bytes = 0

    def update(self, data: bytes) -> None:
        """Append data."""
        self._updates += 1
        if self._updates == 1:
            self._first = data
            return
        self._take_first()
        self._hasher.update(data)

    def zeros(self, length: int) -> None:
        """Append a hole."""
        self._updates += 2
        self._take_first()
        self._hole_bytes += length
        if self._hole_bytes > MOST_HASHED_HOLES:
            return
        while length:
            piece = min(length, len(ZEROS))
            self._hasher.update(ZEROS if piece == len(ZEROS) else ZEROS[:piece])
            length -= piece

    def _take_first(self) -> None:
        if self._first is not None:
            self._hasher.update(self._first)
            self._first = None

    def digest(self) -> bytes:
        """The digest; b"" when it is another's to tell, or was not made."""
        if self._first is not None or self._hole_bytes > MOST_HASHED_HOLES:
            return b""
        return self._hasher.digest()
