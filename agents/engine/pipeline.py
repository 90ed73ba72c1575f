"""From plaintext to the server: worker threads that hash, ask, compress, seal and put.

The reader submits plaintext and a slot; a worker fills the slot with the chunk's id, the id is asked about in a batch,
and only what the server lacks is compressed, sealed and put. The heavy steps release the GIL. Plaintext under way is
bounded by BUDGET, sealed bytes by the link's window. The first fault of any thread ends all of them and is raised to
the reader, once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from blake3 import blake3

from agents.engine.cache import CacheFault
from agents.engine.compression import BUNDLES, MANIFEST, CompressionJudge
from agents.engine.link import KIND_BLOCK, KIND_CHUNK, BackupLink, Progress
from agents.engine.sealing import ChunkSealer
from agents.engine.slots import Slot
from protocol.stored.chunks import MAX_CHUNK_PLAIN

#: Bytes of plaintext between reader and seal.
BUDGET = 32 * 1024 * 1024
#: What an item counts at least, so that a flood of tiny ones is bounded too.
LEAST_COST = 4096
#: A question is asked at so many ids, at so much plaintext that waits for its answer, or after so many idle seconds:
#: each one costs the server a query, and a chunk that waits costs nothing while there is other work.
QUESTION = 256
QUESTION_BYTES = BUDGET // 4
QUESTION_SECONDS = 0.005
#: Ids remembered as dealt with in this run. Forgetting costs one more question.
REMEMBERED = 100_000
#: A wait looks for faults at least this often (seconds).
LOOK = 0.5
MOST_WORKERS = 8


class _Item:
    """One chunk or block on its way. `plain` is let go as soon as it is sealed."""

    __slots__ = ("cost", "group", "kind", "known", "parts", "plain", "slot")

    def __init__(self, kind: int, parts: Sequence[bytes], slot: Slot, group: str, cost: int) -> None:
        self.kind = kind
        self.parts = parts
        self.plain = b""
        self.slot = slot
        self.group = group
        self.cost = cost
        self.known = False


class Pipeline:
    """Use as a context: leaving it stops and joins the workers, whatever happened."""

    def __init__(
        self,
        link: BackupLink,
        sealer: ChunkSealer,
        judge: CompressionJudge,
        progress: Progress,
        *,
        workers: int = 0,
    ) -> None:
        self._link = link
        self._sealer = sealer
        self._judge = judge
        self._progress = progress
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._change = threading.Condition()
        self._under_way = 0
        self._open_items = 0
        self._waiting = 0
        self._fault: BaseException | None = None
        self._questions: list[_Item] = []
        self._questions_cost = 0
        self._dealt_with: set[bytes] = set()
        self.bytes_sent = 0
        self.chunks_sent = 0
        count = workers or min(MOST_WORKERS, max(2, os.cpu_count() or 2))
        self._threads = [
            threading.Thread(target=self._work, name=f"sealing-{number}", daemon=True) for number in range(count)
        ]

    def __enter__(self) -> Pipeline:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        if fault is not None:
            self._fail(fault, spare_link=isinstance(fault, CacheFault))
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(timeout=60)

    # --- the reader's side -----------------------------------------------------------------------

    def submit(self, parts: Sequence[bytes], slot: Slot, group: str = BUNDLES) -> None:
        """Hand over a chunk's plaintext (joined by a worker). Blocks while too much is under way."""
        self._put(_Item(KIND_CHUNK, parts, slot, group, _cost(sum(map(len, parts)))))

    def submit_block(self, data: bytes, block_id: bytes) -> None:
        """Hand over a reference block, which goes in clear."""
        self._put(_Item(KIND_BLOCK, (data,), Slot.known(block_id, b""), MANIFEST, _cost(len(data))))

    def _put(self, item: _Item) -> None:
        with self._change:
            self._wait(lambda: self._under_way + item.cost <= BUDGET or self._under_way == 0)
            self._under_way += item.cost
            self._open_items += 1
        self._queue.put(item)

    def wait_until(self, is_done: Callable[[], bool]) -> None:
        """Return when `is_done`; it is asked again whenever a slot was filled."""
        with self._change:
            self._wait(is_done)

    def finish(self) -> None:
        """Return when everything submitted is known to be present or was put."""
        with self._change:
            self._wait(lambda: self._open_items == 0)

    def check(self) -> None:
        """Raise the fault of another thread, if there is one."""
        if self._fault is not None:
            raise self._fault

    def _wait(self, is_done: Callable[[], bool]) -> None:
        self.check()
        self._waiting += 1
        try:
            while not is_done():
                self._change.wait(LOOK)
                self.check()
        finally:
            self._waiting -= 1

    # --- the workers' side -----------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (item := self._next()) is not None:
                if self._fault is not None:
                    continue
                if item.known:
                    self._seal(item)
                else:
                    self._identify(item)
        except BaseException as fault:  # noqa: BLE001 - whatever it is, the reader raises it
            self._fail(fault)

    def _next(self) -> _Item | None:
        """The next item; while there is none, what has gathered is asked about."""
        while True:
            if not self._questions:
                return self._queue.get()
            # When the reader waits, nothing more will gather.
            patience = 0.0 if self._waiting else QUESTION_SECONDS
            try:
                return self._queue.get(timeout=patience)
            except Empty:
                if self._fault is None:
                    self._ask()

    def _identify(self, item: _Item) -> None:
        parts = item.parts
        item.plain = parts[0] if len(parts) == 1 else b"".join(parts)
        item.parts = ()
        slot = item.slot
        if item.kind == KIND_CHUNK:
            slot.h, slot.id = self._sealer.identify(item.plain)
        with self._change:
            if self._waiting:
                self._change.notify_all()
            repeated = slot.id in self._dealt_with
            if not repeated:
                if len(self._dealt_with) >= REMEMBERED:
                    self._dealt_with.clear()
                self._dealt_with.add(slot.id)
                self._questions.append(item)
                self._questions_cost += item.cost
            due = len(self._questions) >= QUESTION or self._questions_cost >= QUESTION_BYTES
        if repeated:
            self._done(item)
        if due:
            self._ask()

    def _ask(self) -> None:
        with self._change:
            items, self._questions, self._questions_cost = self._questions, [], 0
        if items:
            future = self._link.ask([item.slot.id for item in items])
            future.add_done_callback(lambda answer: self._answered(items, answer))

    def _answered(self, items: list[_Item], answer: Future[set[bytes]]) -> None:
        """Called by the link's thread: it only sorts."""
        try:
            missing = answer.result()
        except BaseException as fault:  # noqa: BLE001 - it is raised to the reader
            self._fail(fault)
            return
        for item in items:
            if item.slot.id in missing:
                item.known = True
                self._queue.put(item)
            else:
                self._done(item)

    def _seal(self, item: _Item) -> None:
        plain, slot = item.plain, item.slot
        if item.kind == KIND_BLOCK:
            sealed = plain
        else:
            compress = self._judge.is_worth_it(plain)
            sealed = self._sealer.seal(plain, slot.h, slot.id, compress)
            self._judge.record(item.group, len(plain), len(sealed), skipped=not compress)
        digest = slot.id if item.kind == KIND_BLOCK else blake3(sealed).digest()
        # The window of the link bounds sealed bytes; plaintext must not be held while waiting for it.
        item.plain = plain = b""
        self._free(item)
        self._link.put(item.kind, slot.id, digest, sealed)
        self._progress.sent(len(sealed))
        with self._change:
            self.bytes_sent += len(sealed)
            self.chunks_sent += item.kind == KIND_CHUNK
        self._done(item)

    def _free(self, item: _Item) -> None:
        with self._change:
            self._under_way -= item.cost
            item.cost = 0
            if self._waiting:
                self._change.notify_all()

    def _done(self, item: _Item) -> None:
        item.plain = b""
        with self._change:
            self._under_way -= item.cost
            item.cost = 0
            self._open_items -= 1
            if self._waiting:
                self._change.notify_all()

    def _fail(self, fault: BaseException, *, spare_link: bool = False) -> None:
        with self._change:
            if self._fault is None:
                self._fault = fault
            self._change.notify_all()
        if spare_link:
            # A damaged cache ends the pass, not the backup.
            return
        # Who is blocked in the link must come back; that the link complains of it is no second fault.
        with suppress(Exception):
            self._link.interrupt()


def _cost(size: int) -> int:
    if size > MAX_CHUNK_PLAIN:
        raise ValueError(f"a chunk of {size} bytes is over the limit of {MAX_CHUNK_PLAIN}")
    return max(size, LEAST_COST)
