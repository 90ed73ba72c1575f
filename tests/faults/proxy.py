"""A TCP proxy that breaks things: between an agent and one or more gateways, on the loopback interface only.

It runs on a thread of its own. What it does is decided by how many bytes have passed so far, not by time, so that a
test's fault comes at the same place on a fast and on a slow machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

PIECE = 16 * 1024
"""Bytes moved at a time: small, so that a fault hits the middle of a record and a rate is kept evenly."""
RECEIVE_BUFFER = 64 * 1024
RESET = struct.pack("ii", 1, 0)
WAIT = 20.0


class Fault(Enum):
    """What may happen to a piece on its way."""

    DROP = auto()
    """The piece is lost, what follows arrives."""
    STALL = auto()
    """Neither it nor anything after it arrives, in either direction, until the agent gives up."""
    RESET = auto()
    """Both ends get an RST."""
    DUPLICATE = auto()
    """The piece arrives twice."""
    HALF_CLOSE = auto()
    """The receiver sees the end of the sender's stream, and the sender sees nothing."""
    FLIP = auto()
    """One bit of it is another."""


Action = Fault | Callable[[], object]


@dataclass(eq=False)
class _Pair:
    """One agent's connection and the gateway's end of it."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    stalled: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def reset(self) -> None:
        for writer in (self.near, self.far):
            connected = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()


class Proxy:
    """Accepts on `port` and passes on to the first of `upstreams` that takes the connection."""

    def __init__(self, *upstreams: tuple[str, int]) -> None:
        self.upstreams = list(upstreams)
        self.port = 0
        self.up = 0
        """Bytes passed from agents to gateways, over all connections."""
        self.down = 0
        self.connections = 0
        self.cuts = 0
        self.rate: float | None = None
        """Bytes a second, upwards; None: as fast as it goes."""
        self.happened: list[Action] = []
        self._due: dict[bool, list[tuple[int, Action]]] = {True: [], False: []}
        self._pairs: set[_Pair] = set()
        self._free_at = 0.0

    # --- for the test ------------------------------------------------------------------------------------------------

    def at(self, passed: int, action: Action, *, upwards: bool = True) -> None:
        """Once so many bytes have passed that way: a fault of the connection at hand, or a call."""
        self._due[upwards] = sorted([*self._due[upwards], (passed, action)], key=lambda one: one[0])

    def cut_every(self, seconds: float) -> None:
        """From now on, reset every connection again and again."""
        self._call(self._keep_cutting(seconds))

    def cut(self) -> None:
        """Reset every connection once."""
        self._call(self._cut())

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """Serve for the length of the block."""
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy")
        thread.start()
        self._background: set[asyncio.Task[None]] = set()
        try:
            self._call(self._listen())
            yield self
        finally:
            self._call(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(WAIT)
            self._loop.close()

    # --- on its thread -----------------------------------------------------------------------------------------------

    def _call(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT)

    async def _listen(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._server = await asyncio.start_server(self._accept, sock=listening, limit=PIECE)
        self.port = listening.getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> None:
        for pair in list(self._pairs):
            self.cuts += 1
            pair.reset()

    async def _keep_cutting(self, seconds: float) -> None:
        async def cutting() -> None:
            while True:
                await asyncio.sleep(seconds)
                await self._cut()

        self._background.add(asyncio.create_task(cutting()))

    async def _accept(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.connections += 1
        for host, port in self.upstreams:
            with contextlib.suppress(OSError):
                answers, far = await asyncio.open_connection(host, port, limit=PIECE)
                break
        else:
            near.transport.abort()
            return
        pair = _Pair(near, far)
        self._pairs.add(pair)
        pair.tasks = [
            asyncio.create_task(self._pass(pair, reader, far, upwards=True)),
            asyncio.create_task(self._pass(pair, answers, near, upwards=False)),
        ]
        try:
            # Cancelled at the end of a test; asyncio's streams would print that as a fault of ours.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(pair.tasks)
        finally:
            self._pairs.discard(pair)
            for writer in (near, far):
                writer.close()

    async def _pass(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upwards: bool
    ) -> None:
        """One direction, to its end; the end of one direction is passed on and leaves the other as it is."""
        try:
            while piece := await reader.read(PIECE):
                if pair.stalled:
                    continue
                writer.write(await self._through(pair, piece, writer, upwards=upwards))
                await writer.drain()
            if upwards:
                # An agent that has gone hears no answer: as the network does, tell the gateway at once.
                pair.far.close()
            else:
                writer.write_eof()
        except OSError:
            pair.reset()

    async def _through(self, pair: _Pair, piece: bytes, writer: asyncio.StreamWriter, *, upwards: bool) -> bytes:
        if upwards:
            await self._pace(len(piece))
            self.up += len(piece)
        else:
            self.down += len(piece)
        due, passed = self._due[upwards], self.up if upwards else self.down
        while due and due[0][0] <= passed:
            action = due.pop(0)[1]
            if isinstance(action, Fault):
                piece = self._spoil(pair, piece, action, writer)
            else:
                await asyncio.to_thread(action)
            self.happened.append(action)
        return piece

    def _spoil(self, pair: _Pair, piece: bytes, fault: Fault, writer: asyncio.StreamWriter) -> bytes:
        match fault:
            case Fault.DROP:
                return b""
            case Fault.DUPLICATE:
                return piece * 2
            case Fault.FLIP:
                middle = len(piece) // 2
                return piece[:middle] + bytes([piece[middle] ^ 16]) + piece[middle + 1 :]
            case Fault.STALL:
                pair.stalled = True
            case Fault.RESET:
                pair.reset()
            case Fault.HALF_CLOSE:
                pair.stalled = True
                writer.write_eof()
        return b""

    async def _pace(self, size: int) -> None:
        if self.rate is None:
            return
        now = self._loop.time()
        self._free_at = max(self._free_at, now) + size / self.rate
        if self._free_at > now:
            await asyncio.sleep(self._free_at - now)
