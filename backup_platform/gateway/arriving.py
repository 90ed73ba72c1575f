"""One backup session's way to disk on one connection: PUTs in order into a pack, durable, then acknowledged.

Law 1 in this order and no other: bytes in the file, fdatasync (and the directory for a new file), arrival rows under
the fence, STORED. Appending goes on while a flush runs; a flush answers for what was appended before it began.

    put() → queue → append (digest checked) → pending → flush → acknowledged
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from backup_platform.catalog import arrivals
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.limits import GatewayLimits, held_bytes
from backup_platform.gateway.open_packs import Holder, OpenPack, OpenPacks
from backup_platform.gateway.pack_writer import Record, matches
from backup_platform.tenants.room import check_pack
from protocol.wire.errors import FailureCode


@dataclass(slots=True)
class Pending:
    """What one flush covers: rows to write, the ordinal it reaches, its bytes, and the age of its oldest PUT."""

    rows: list[arrivals.Arrival]
    through: int
    bytes: int = 0
    oldest: float = 0


@dataclass(slots=True)
class Request:
    """Somebody waits until every PUT up to `through` is durable, and with `seal` until the pack is sealed too."""

    through: int
    seal: bool
    done: asyncio.Future[None]


class Arriving:
    """Takes records in order and tells `stored(ordinal)`; `failed(fault)` once, after which nothing more is written.

    `freed(bytes)` is called when payload memory is given back. All methods belong to the event loop.
    """

    def __init__(
        self,
        packs: OpenPacks,
        holder: Holder,
        limits: GatewayLimits,
        *,
        stored: Callable[[int], None],
        failed: Callable[[BaseException], None],
        freed: Callable[[int], None],
    ) -> None:
        self.holder = holder
        self._packs = packs
        self._limits = limits
        self._stored, self._failed, self._freed = stored, failed, freed
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Record, int, float]] = deque()
        self._pack: OpenPack | None = packs.take(holder.session)
        self._only_wanted = False  # the quota is used up: this pack takes nothing but what heals
        self._pending = Pending([], 0)
        self._flushing: asyncio.Task[None] | None = None
        self._requests: list[Request] = []
        self._received = 0
        self._acknowledged = 0
        self._wake = asyncio.Event()
        self._closing = False
        self.fault: BaseException | None = None
        self._task = self._loop.create_task(self._work())

    def put(self, record: Record, ordinal: int) -> None:
        """Take the PUT with this ordinal. After a fault it is dropped: the agent keeps it until acknowledged."""
        if self.fault is not None or self._closing:
            self._freed(held_bytes(record.payload))
            return
        self._received = ordinal
        self._queue.append((record, ordinal, self._loop.time()))
        self._wake.set()

    @property
    def busy(self) -> bool:
        """Whether anything taken is not yet acknowledged."""
        return bool(self._queue or self._pending.rows or self._flushing)

    def flush(self) -> asyncio.Future[None]:
        """Done when every PUT taken before this call is acknowledged; failed with the fault that prevents it."""
        return self._ask(seal=False)

    def settle(self) -> asyncio.Future[None]:
        """As `flush`, and the pack is sealed: before a commit."""
        return self._ask(seal=True)

    async def close(self) -> None:
        """End: what was appended is flushed, what was not is dropped, the pack is parked or given up."""
        self._closing = True
        self._drop_queue()
        self._wake.set()
        await asyncio.wait([self._task])

    def _ask(self, *, seal: bool) -> asyncio.Future[None]:
        done: asyncio.Future[None] = self._loop.create_future()
        done.add_done_callback(_look_at)  # whoever asked may be gone
        if self._closing:
            done.set_exception(self.fault or CLOSING)
            return done
        self._requests.append(Request(self._received, seal, done))
        self._wake.set()
        return done

    async def _work(self) -> None:
        try:
            while not self._closing:
                self._wake.clear()
                if self._queue:
                    await self._append_batch()
                self._flush_if_due()
                await self._serve_requests()
                if not self._queue and not self._closing:
                    await self._rest()
            await self._flush_now()
        except Exception as fault:  # noqa: BLE001 - whatever it is, this session writes nothing more and says so
            self._fail(fault)
        finally:
            await self._let_go()

    async def _rest(self) -> None:
        """Sleep until something comes, or a flush or the idle seal is due."""
        now = self._loop.time()
        timeout = self._limits.pack_idle_seconds
        if self._pending.rows and self._flushing is None:
            timeout = max(0.0, self._pending.oldest + self._limits.flush_seconds - now)
        elif self._pack is not None and not self._pending.rows:
            timeout = max(0.0, self._pack.quiet_since + self._limits.pack_idle_seconds - now)
            if timeout == 0:
                await self._seal()
                return
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except TimeoutError:
            return

    async def _append_batch(self) -> None:
        batch, size = self._next_batch()
        records = [record for record, _, _ in batch]
        try:
            if self._pack is not None and not await self._packs.has_room():
                await self._seal()  # needs little; to open the next one is refused
            if self._pack is None or self._only_wanted:
                await self._ask_for_room([record.id for record in records])
            pack = self._pack = self._pack or await self._packs.open(self.holder)
            entries = await self._packs.pools.disk(lambda: _append(pack, records))
        finally:
            self._freed(size)
        pack.quiet_since = self._loop.time()
        if not self._pending.rows:
            self._pending.oldest = batch[0][2]
        self._pending.rows += entries
        self._pending.bytes += size
        self._pending.through = batch[-1][1]
        if pack.writer.size >= self._limits.pack_bytes or len(pack.writer.entries) >= self._limits.pack_records:
            await self._seal()

    async def _ask_for_room(self, ids: list[bytes]) -> None:
        """Asked before each pack, so that what goes beyond the tenant's quota is bounded. Raises QuotaUsedUp."""
        holder = self.holder
        self._only_wanted = not await self._packs.pools.database(
            lambda: check_pack(holder.tenant_id, holder.machine_id, ids), holder.tenant_id
        )

    def _next_batch(self) -> tuple[list[tuple[Record, int, float]], int]:
        batch = [self._queue.popleft()]
        size = held_bytes(batch[0][0].payload)
        # Exactly to the pack's end: all of it may wait for one flush, and so many rows are taken at once at most.
        most = min(MAX_BATCH, self._limits.pack_records - (len(self._pack.writer.entries) if self._pack else 0))
        while self._queue and len(batch) < most:
            following = held_bytes(self._queue[0][0].payload)
            if size + following > self._limits.append_batch:
                break
            batch.append(self._queue.popleft())
            size += following
        return batch, size

    def _flush_if_due(self) -> None:
        pending = self._pending
        if self._flushing is not None or not pending.rows:
            return
        age = self._loop.time() - pending.oldest
        asked = any(request.through > self._acknowledged for request in self._requests)
        if asked or pending.bytes >= self._limits.flush_bytes or age >= self._limits.flush_seconds:
            self._begin_flush()

    def _begin_flush(self) -> asyncio.Task[None]:
        assert self._pack is not None
        task = self._flushing = self._loop.create_task(self._flush_in_turn(self._pack))
        task.add_done_callback(self._flushed)
        return task

    async def _flush_in_turn(self, pack: OpenPack) -> None:
        """A flush that has to wait for others covers what was appended meanwhile: fewer and larger ones under load."""
        async with self._packs.pools.flushes:
            pending, self._pending = self._pending, Pending([], self._pending.through)
            await self._flush(pack, pending)

    async def _flush(self, pack: OpenPack, pending: Pending) -> None:
        await self._packs.pools.disk(pack.writer.sync)
        holder, rows, pack_id = self.holder, pending.rows, pack.row.pack_id
        await self._packs.pools.database(
            lambda: arrivals.record_arrivals(holder.session, holder.fence, pack_id, rows), holder.tenant_id
        )
        self._acknowledged = pending.through
        self._stored(pending.through)

    def _flushed(self, task: asyncio.Task[None]) -> None:
        self._flushing = None
        fault = task.exception()
        if fault is not None:
            self._fail(fault)
        self._wake.set()

    async def _flush_now(self) -> None:
        """Flush whatever is appended; raises what a flush raises."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self.fault is not None:
            raise self.fault
        if self._pending.rows:
            await self._begin_flush()

    async def _seal(self) -> None:
        await self._flush_now()
        pack, self._pack = self._pack, None
        if pack is not None:
            await self._packs.seal(pack)

    async def _serve_requests(self) -> None:
        if self.fault is not None:
            raise self.fault
        ready = [request for request in self._requests if request.through <= self._acknowledged]
        if any(request.seal for request in ready):
            await self._seal()
        for request in ready:
            self._requests.remove(request)
            if not request.done.done():
                request.done.set_result(None)

    def _fail(self, fault: BaseException) -> None:
        """Remember the first fault, tell it once, and let nobody wait for ever."""
        if self.fault is None:
            self.fault = fault
            self._failed(fault)
        self._drop_queue()
        for request in self._requests:
            if not request.done.done():
                request.done.set_exception(self.fault)
        self._requests.clear()
        self._closing = True
        self._wake.set()

    def _drop_queue(self) -> None:
        while self._queue:
            self._freed(held_bytes(self._queue.popleft()[0].payload))

    async def _let_go(self) -> None:
        """Clean pack: parked for the session. Otherwise its rows say what of it counts."""
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        for request in self._requests:
            if not request.done.done():
                request.done.set_exception(CLOSING)
        pack, self._pack = self._pack, None
        if pack is None:
            return
        if self.fault is None and not pack.writer.dead and not self._pending.rows:
            self._packs.park(self.holder, pack)
        else:
            self._packs.give_up(pack.row, pack.writer)


CLOSING = Refusal(FailureCode.TEMPORARY, "The connection is closing.", final=True)
MAX_BATCH = 256
"""Records of one append: two buffers each, under the kernel's limit for one writev."""


def _look_at(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()


def _append(pack: OpenPack, records: list[Record]) -> list[arrivals.Arrival]:
    for record in records:
        if not matches(record):
            raise Refusal(
                FailureCode.INVALID,
                "A record arrived with other bytes than its digest or its name promises; it was not stored.",
                final=True,
            )
    entries = pack.writer.append(records)
    return [arrivals.Arrival(entry.kind, entry.id, entry.offset, entry.length) for entry in entries]
