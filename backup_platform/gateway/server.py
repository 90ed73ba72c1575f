"""The gateway process: accepts connections, watches their times, keeps its house, and stops in good order."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from backup_platform.fleet import presence
from backup_platform.gateway.admission import Admission, QuestionMeter, ReceivedBytes, SentBytes
from backup_platform.gateway.context import Context
from backup_platform.gateway.control_desk import ControlDesk
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.gateway.open_packs import OpenPacks
from backup_platform.gateway.peer import Peer
from backup_platform.gateway.pools import Pools
from backup_platform.gateway.recovery import take_spool
from backup_platform.gateway.restoring import BlockCache
from backup_platform.gateway.session import PeerSession
from backup_platform.gateway.spool import Spool, spool_root
from backup_platform.gateway.tls import GatewayTls, identity_of, server_tls
from backup_platform.gateway.turns import ReadingTurns

log = structlog.get_logger(__name__)

SERVER_VERSION = "strongroom-gateway/1"
BACKLOG = 512
LAG_SECONDS = 0.25
LAG_WORTH_A_LINE = 0.25
REPORT_SECONDS = 60.0
CERTIFICATE_SECONDS = 3600.0


@dataclass(slots=True, repr=False)
class Gateway:
    """One gateway over `home`. `start`, then `stop`; both on the same event loop."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 0
    limits: GatewayLimits = field(default_factory=GatewayLimits)
    files: FileLayer = field(default_factory=FileLayer)
    context: Context = field(init=False)
    tls: GatewayTls = field(init=False)
    peers: set[Peer] = field(init=False, default_factory=set)
    _spools: list[Spool] = field(init=False, default_factory=list)
    _listener: socket.socket | None = field(init=False, default=None)
    _tasks: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _greeting: set[asyncio.Task[None]] = field(init=False, default_factory=set)
    _turns: ReadingTurns = field(init=False)
    _lags: list[float] = field(init=False, default_factory=list)

    async def start(self) -> int:
        """Recover, listen, and return the port. Raises AuthorityFault, OSError, database errors."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_loop_fault)
        self._turns = ReadingTurns(loop)
        pools = Pools(self.limits)
        try:
            self.tls = await pools.database(server_tls)
            own, others, unfinished = await pools.database(lambda: take_spool(self.files, spool_root(self.home)))
        except BaseException:
            pools.close()
            raise
        self._spools = [own, *others]
        packs = OpenPacks(self.files, own, pools, self.limits)
        for row in unfinished:
            packs.give_up(row)
        self.context = self._make_context(pools, packs)
        self._listener = _listen(self.host, self.port)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept())
        self._spawn(self._measure_lag())
        self._spawn(_every(self.limits.sweep_seconds, self._watch_times))
        self._spawn(_every(self.limits.retry_seconds, packs.tend))
        self._spawn(_every(CERTIFICATE_SECONDS, self._renew_certificate))
        self._spawn(self.context.desk.work(self._beat))
        log.info("gateway serving", host=self.host, port=self.port, spool=own.name)
        return self.port

    async def stop(self, reason: str = "The gateway is being restarted.") -> None:
        """Take no one in, let every session end, seal what is open; at most `drain_seconds`, then let go."""
        ending = list(self._tasks | self._greeting)
        for task in ending:
            task.cancel()
        if self._listener is not None:
            self._listener.close()
        if ending:
            await asyncio.wait(ending, timeout=self.limits.drain_seconds)
        try:
            async with asyncio.timeout(self.limits.drain_seconds):
                await self._drain(reason)
        except TimeoutError:
            log.warning("not everything ended in time; the next start recovers it", peers=len(self.peers))
        for peer in list(self.peers):
            peer.transport.abort()
        await asyncio.get_running_loop().run_in_executor(None, self.context.pools.close)
        for spool in self._spools:
            spool.release()
        self._report()
        log.info("gateway stopped")

    async def _drain(self, reason: str) -> None:
        sessions = [peer.session for peer in self.peers if isinstance(peer.session, PeerSession)]
        await asyncio.gather(*(session.stop(reason) for session in sessions), return_exceptions=True)
        running = [peer.task for peer in self.peers if peer.task is not None]
        if running:
            await asyncio.wait(running)
        await self.context.packs.seal_all()
        await self.context.desk.close()

    def _make_context(self, pools: Pools, packs: OpenPacks) -> Context:
        limits = self.limits
        return Context(
            limits=limits,
            pools=pools,
            packs=packs,
            admission=Admission(limits),
            received=ReceivedBytes(limits.total_bytes),
            sent=SentBytes(limits.sent_bytes),
            questions=QuestionMeter(limits),
            blocks=BlockCache(limits.block_cache),
            certificate_hash=self.tls.certificate_hash,
            ca=self.tls.ca,
            server_version=SERVER_VERSION,
            commits=asyncio.Semaphore(limits.commits),
            desk=ControlDesk(pools, packs.spool.name),
        )

    # --- connections -------------------------------------------------------------------------------------------------

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._listener is not None
        while True:
            try:
                connection, remote = await loop.sock_accept(self._listener)
            except OSError as fault:  # out of file descriptors, or the peer was gone already
                log.warning("accept failed", fault=repr(fault))
                await asyncio.sleep(0.1)
                continue
            address = str(remote[0])
            if not self.context.admission.admit(address):
                log.info("connection refused: too many", peer=address, connections=self.context.admission.connections)
                connection.close()
                continue
            task = loop.create_task(self._shake_hands(connection, address))
            self._greeting.add(task)
            task.add_done_callback(self._greeting.discard)

    async def _shake_hands(self, connection: socket.socket, address: str) -> None:
        peer = Peer(address, self.limits, self.context.received, self._turns, self._begin_session, self._lost)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: peer,
                connection,
                ssl=self.tls.context,
                ssl_handshake_timeout=self.limits.handshake_seconds,
                ssl_shutdown_timeout=5.0,
            )
        except (OSError, TimeoutError) as fault:  # ssl.SSLError is an OSError
            log.info("TLS handshake failed", peer=address, reason=_reason(fault))
            connection.close()
            self._lost(peer)
        except asyncio.CancelledError:
            connection.close()
            raise

    def _begin_session(self, peer: Peer) -> PeerSession:
        self.peers.add(peer)
        return PeerSession(self.context, peer, identity_of(peer.transport.get_extra_info("ssl_object")))

    def _lost(self, peer: Peer) -> None:
        """The end of an admitted connection, told once by whoever notices first."""
        if not peer.counted_out:
            peer.counted_out = True
            self.context.admission.left(peer.address, recognised=peer.recognised)
            self.peers.discard(peer)

    # --- the house ---------------------------------------------------------------------------------------------------

    @property
    def load(self) -> int:
        """How busy it is, in percent of what it takes: of its connections or its backups, whichever is more."""
        context = self.context
        shares = (
            context.admission.connections / self.limits.connections,
            len(context.backups) / self.limits.backups,
        )
        return min(100, round(100 * max(shares)))

    async def _watch_times(self) -> None:
        now = asyncio.get_running_loop().time()
        for peer in list(self.peers):
            peer.check_times(now)

    def _beat(self) -> presence.Beat:
        """What this gateway says of itself every few seconds."""
        context = self.context
        return presence.Beat(f"{self.host}:{self.port}", context.admission.connections, len(context.backups))

    async def _renew_certificate(self) -> None:
        self.tls = await self.context.pools.database(server_tls)
        self.context.certificate_hash = self.tls.certificate_hash

    async def _measure_lag(self) -> None:
        """How late the loop is: what blocks it blocks every agent."""
        loop = asyncio.get_running_loop()
        reported = loop.time()
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_SECONDS)
            lag = loop.time() - before - LAG_SECONDS
            self._lags.append(lag)
            if lag > LAG_WORTH_A_LINE:
                log.warning("the event loop was held up", seconds=round(lag, 3))
            if loop.time() - reported > REPORT_SECONDS:
                reported = loop.time()
                self._report()

    def _report(self) -> None:
        context = self.context
        lags, self._lags = sorted(self._lags) or [0.0], []
        log.info(
            "gateway at work",
            connections=context.admission.connections,
            backups=len(context.backups),
            received_bytes=context.received.held,
            lag=round(max(lags), 4),
            lag_p99=round(lags[len(lags) * 99 // 100], 4),
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _every(seconds: float, call: Callable[[], Awaitable[None]]) -> None:
    """Again and again; a fault of one round is logged and the next one tries again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await call()
        except Exception:
            log.exception("a round of the gateway's housekeeping failed")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(fault: BaseException) -> str:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return fault.verify_message
    if isinstance(fault, ssl.SSLError):
        return fault.reason or "not TLS"
    return type(fault).__name__


def _log_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What transports report: a connection that broke is one line, anything else a defect with its trace."""
    fault = context.get("exception")
    if isinstance(fault, OSError):
        log.info("a connection broke", reason=_reason(fault))
    else:
        task = context.get("task") or context.get("future")
        log.error("unexpected fault in the event loop", what=context.get("message"), task=repr(task), exc_info=fault)
