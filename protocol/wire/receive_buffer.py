"""Where received bytes go: one reused buffer for what is small, and the payload's own bytearray for what is large.

Many small frames arrive with one read; a large payload is written once, by the reader of the socket, to where it stays.
`buffer()` and `filled(n)` fit asyncio's BufferedProtocol and `recv_into`.
"""

from protocol.wire import limits
from protocol.wire.errors import FailureCode, LocalProtocolError

# With less room than this, the rest is moved to the front: a read into a sliver would cost a call and bring nothing.
_LEAST_ROOM = 4 * limits.KIB


class ReceiveBuffer:
    """Bytes between the socket and the frames. Holds at most MAX_RECEIVE_BUFFER and one direct fill."""

    def __init__(self) -> None:
        self._ring = memoryview(bytearray(limits.MIN_RECEIVE_BUFFER))
        self._start = 0  # first byte not consumed
        self._end = 0  # after the last byte received
        self._direct: bytearray | None = None  # a large piece that is being filled in place
        self._direct_view = memoryview(b"")  # what of it is still to be filled
        self._skip = 0  # bytes to throw away as they come
        self._offered = 0  # length of the last view handed out
        self._small_reads = 0
        self._grow = False

    def __len__(self) -> int:
        """Bytes of the reused buffer that were received and not consumed."""
        return self._end - self._start

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty. Raises LocalProtocolError when events were not taken in time."""
        if self._direct is not None and self._direct_view:
            view = self._direct_view
        else:
            self._make_room()
            view = self._ring[self._end :]
        self._offered = len(view)
        if not view:
            raise LocalProtocolError(FailureCode.INTERNAL, "The receive buffer is full: take events until NEED_DATA.")
        return view

    def filled(self, count: int) -> None:
        """Say that `count` bytes of the last buffer() were written. Raises LocalProtocolError if it had less room."""
        if not 0 <= count <= self._offered:
            what = f"{count} bytes cannot have been written into a buffer of {self._offered}."
            raise LocalProtocolError(FailureCode.INTERNAL, what)
        if self._direct is not None and self._direct_view:
            self._direct_view = self._direct_view[count:]
        else:
            self._note_size(count)
            self._end += count
        self._offered = 0

    def peek(self, count: int) -> memoryview | None:
        """The next `count` bytes without consuming them, valid until the next buffer(); None if they are not here."""
        if self._end - self._start < count:
            return None
        return self._ring[self._start : self._start + count]

    def consume(self, count: int) -> None:
        """Forget bytes that peek() showed."""
        self._start += count

    def skip(self, count: int) -> None:
        """Throw the next `count` bytes away, those that are still to come included. Nothing is allocated for them."""
        self._skip += count
        self._drop()

    def take(self, count: int) -> bytes | bytearray | None:
        """The next `count` bytes, consumed; None while some are missing (ask again with the same count)."""
        if self._direct is not None:
            return self._take_direct()
        have = self._end - self._start
        if have >= count:
            taken = bytes(self._ring[self._start : self._start + count])
            self._start += count
            return taken
        if count - have >= limits.DIRECT_FILL or count > len(self._ring) - _LEAST_ROOM:
            self._fill_directly(count)
        return None

    def still_skipping(self) -> bool:
        """Whether bytes that are to be thrown away have still to come."""
        self._drop()
        return self._skip > 0

    def _take_direct(self) -> bytearray | None:
        if self._direct_view:
            return None
        taken, self._direct = self._direct, None
        self._direct_view = memoryview(b"")
        return taken

    def _fill_directly(self, count: int) -> None:
        """Give the next `count` bytes their own place; what of them is here moves there."""
        have = self._end - self._start
        self._direct = bytearray(count)
        view = memoryview(self._direct)
        view[:have] = self._ring[self._start : self._end]
        self._direct_view = view[have:]
        self._start = self._end = 0

    def _drop(self) -> None:
        dropped = min(self._skip, self._end - self._start)
        self._skip -= dropped
        self._start += dropped

    def _make_room(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        if self._grow or self._small_reads >= limits.SMALL_READS_BEFORE_SHRINKING:
            self._resize()
        elif self._start and len(self._ring) - self._end < _LEAST_ROOM:
            self._move(self._ring)

    def _resize(self) -> None:
        """Grow after a read that filled everything offered; shrink, when nothing is held, after many small ones."""
        size = limits.MAX_RECEIVE_BUFFER if self._grow else limits.MIN_RECEIVE_BUFFER
        self._grow = False
        self._small_reads = 0
        if size != len(self._ring) and self._end - self._start < size - _LEAST_ROOM:
            self._move(memoryview(bytearray(size)))

    def _move(self, target: memoryview) -> None:
        have = self._end - self._start
        target[:have] = self._ring[self._start : self._end]
        self._ring, self._start, self._end = target, 0, have

    def _note_size(self, count: int) -> None:
        self._small_reads = self._small_reads + 1 if count < limits.MIN_RECEIVE_BUFFER // 4 else 0
        self._grow = count == self._offered and len(self._ring) < limits.MAX_RECEIVE_BUFFER
