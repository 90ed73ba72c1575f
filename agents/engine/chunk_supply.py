"""Chunks for a restore: fetched ahead in the order in which they will be used, opened in threads, kept while it pays.

Files in path order use chunks almost in the order in which the snapshot lists them, but a bundle serves hundreds of
files and old bundles are met again and again. So a chunk stays while something that is already planned needs it, and
after that as long as there is room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.stored.manifests import ChunkRef
    from protocol.wire import Buffer

AHEAD = 64
"""Different chunks that are planned and not used yet: about 64 MiB, at the very most 256."""
BATCH = 16
"""Chunks asked for in one request: each request costs the gateway some queries, and four are under way at a time."""
KEPT_BYTES = 64 << 20
"""Opened chunks that nothing planned needs, kept for what comes later."""

Fetch = Callable[[bytes, Sequence[bytes]], "dict[bytes, Future[Buffer]]"]
Open = Callable[["Buffer", bytes, bytes], bytes]


class _Slot:
    __slots__ = ("asked", "opened", "size", "uses")

    def __init__(self) -> None:
        self.opened: Future[bytes] = Future()
        self.asked = False
        self.uses = 0
        self.size = 0


class ChunkSupply:
    """`expect` every use in order while there is `room`; `take` or `release` them in the same order.

    One thread uses it.
    """

    def __init__(self, fetch: Fetch, open_chunk: Open, pool: ThreadPoolExecutor, kept_bytes: int = KEPT_BYTES) -> None:
        self._fetch = fetch
        self._open = open_chunk
        self._pool = pool
        self._kept_bytes = kept_bytes
        self._planned: dict[bytes, _Slot] = {}
        self._kept: OrderedDict[bytes, _Slot] = OrderedDict()
        self._size = 0
        self._block = b""
        self._batch: list[tuple[ChunkRef, _Slot]] = []

    @property
    def room(self) -> bool:
        """Whether more may be planned."""
        return len(self._planned) < AHEAD

    def expect(self, block: bytes, ref: ChunkRef) -> None:
        """Plan one use of a chunk that the reference block `block` lists."""
        key = _key(ref)
        slot = self._planned.get(key)
        if slot is None:
            slot = self._kept.pop(key) if key in self._kept else self._ask(block, ref)
            self._planned[key] = slot
            self._size -= slot.size
        slot.uses += 1

    def _ask(self, block: bytes, ref: ChunkRef) -> _Slot:
        if self._batch and (block != self._block or len(self._batch) >= BATCH):
            self.flush()
        slot = _Slot()
        self._block = block
        self._batch.append((ref, slot))
        return slot

    def flush(self) -> None:
        """Send what is collected. `take` does so by itself."""
        batch, self._batch = self._batch, []
        if not batch:
            return
        sealed = self._fetch(self._block, [ref.id for ref, _ in batch])
        for ref, slot in batch:
            slot.asked = True
            sealed[ref.id].add_done_callback(self._opener(ref, slot))

    def _opener(self, ref: ChunkRef, slot: _Slot) -> Callable[[Future[Buffer]], None]:
        def arrived(sealed: Future[Buffer]) -> None:
            try:
                self._pool.submit(self._open_into, slot, sealed, ref)
            except RuntimeError as fault:  # the pool was shut down: nobody waits any more
                slot.opened.set_exception(fault)

        return arrived

    def _open_into(self, slot: _Slot, sealed: Future[Buffer], ref: ChunkRef) -> None:
        try:
            slot.opened.set_result(self._open(sealed.result(), ref.id, ref.hash))
        except BaseException as fault:  # noqa: BLE001 - whoever takes the chunk gets the fault
            slot.opened.set_exception(fault)

    def take(self, ref: ChunkRef) -> bytes:
        """Return the plaintext for the next planned use. Raises Damage, or what ended the connection."""
        slot = self._planned[_key(ref)]
        if not slot.asked:  # not merely "not here yet": that would ask for one chunk at a time from then on
            self.flush()
        try:
            plaintext = slot.opened.result()
            slot.size = len(plaintext)
            return plaintext
        finally:
            self.release(ref)

    def release(self, ref: ChunkRef) -> None:
        """Give one planned use up without waiting for it."""
        key = _key(ref)
        slot = self._planned[key]
        slot.uses -= 1
        if slot.uses:
            return
        del self._planned[key]
        if slot.size:
            self._kept[key] = slot
            self._size += slot.size
            self._evict()

    def _evict(self) -> None:
        while self._size > self._kept_bytes:
            self._size -= self._kept.popitem(last=False)[1].size


def _key(ref: ChunkRef) -> bytes:
    """What was opened under one `h` says nothing about the same id beside another one."""
    return ref.id + ref.hash
