"""The packs of this gateway that are open and not being written: parked ones, and ones that somebody must finish.

A pack belongs to a session, not to a connection: when the connection breaks, its pack waits here for ten idle minutes,
so that a flaky line does not leave a trail of small packs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID, uuid4

import structlog
from django.db import Error as DatabaseError

from backup_platform.catalog import arrivals
from backup_platform.catalog.models import Session, SessionState
from backup_platform.gateway.errors import PackDead, Refusal
from backup_platform.gateway.file_layer import FileLayer
from backup_platform.gateway.finishing import UnfinishedPack, finish_pack
from backup_platform.gateway.limits import GatewayLimits
from backup_platform.gateway.pack_writer import PackWriter
from backup_platform.gateway.pools import Pools
from backup_platform.gateway.spool import OPEN, Spool
from backup_platform.tenants.scope import without_tenant_scope
from protocol.wire.errors import FailureCode

log = structlog.get_logger(__name__)

SPOOL_FULL = "The server's spool disk is nearly full. Nothing was lost; the backup can go on when there is space again."
DOUBT_SECONDS = 600
"""How long a row whose answer was lost is looked for; a transaction that idles is ended by the server after 60."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose session a pack is written for, and the fence under which."""

    session: UUID
    fence: int
    tenant_id: UUID
    vault_id: UUID
    machine_id: UUID


@dataclass(slots=True)
class OpenPack:
    """An open row and the writer of its file; `quiet_since` is loop time."""

    row: UnfinishedPack
    writer: PackWriter
    quiet_since: float


class OpenPacks:
    """Opens, parks, seals and finishes packs in one spool. Used on the event loop; what blocks goes to the pools."""

    def __init__(self, files: FileLayer, spool: Spool, pools: Pools, limits: GatewayLimits) -> None:
        self.files = files
        self.spool = spool
        self.pools = pools
        self.limits = limits
        self._parked: dict[UUID, tuple[OpenPack, int]] = {}  # session → pack, and the fence that wrote it
        self._unfinished: list[UnfinishedPack] = []
        self._doubtful: dict[UUID, float] = {}  # packs whose row may or may not have been written → loop time

    async def has_room(self) -> bool:
        """Whether the spool's disk has more than its reserve: a full disk may be the database's too."""
        free = await self.pools.disk(lambda: self.files.free_bytes(self.spool.directory))
        return free >= self.limits.spool_reserve

    async def open(self, holder: Holder) -> OpenPack:
        """A new pack: first its row, under the fence, then its file. Raises Fenced, PackDead, Refusal."""
        if not await self.has_room():
            raise Refusal(FailureCode.TEMPORARY, SPOOL_FULL, retry_after=self.limits.retry_seconds, final=True)
        uid, spool = uuid4(), self.spool
        try:
            pack = await self.pools.database(
                lambda: arrivals.open_pack(holder.session, holder.fence, uid=uid, spool=spool.name), holder.tenant_id
            )
        except DatabaseError:
            self._doubtful[uid] = asyncio.get_running_loop().time()
            raise
        row = UnfinishedPack.of(pack, spool.directory)
        path = row.path.with_name(row.path.name + OPEN)
        try:
            writer = await self.pools.disk(lambda: PackWriter(self.files, holder.vault_id, uid, path))
        except PackDead:
            self.give_up(row)
            raise
        return OpenPack(row, writer, asyncio.get_running_loop().time())

    def take(self, session: UUID) -> OpenPack | None:
        """The parked pack of a session, for the connection that goes on with it."""
        pack, _ = self._parked.pop(session, (None, 0))
        return pack

    def park(self, holder: Holder, pack: OpenPack) -> None:
        """Keep a pack whose every record is acknowledged until its session comes back or it is idle too long."""
        pack.quiet_since = asyncio.get_running_loop().time()
        self._parked[holder.session] = (pack, holder.fence)

    def give_up(self, row: UnfinishedPack, writer: PackWriter | None = None) -> None:
        """Nobody writes to this pack any more: it is finished from its rows, now or as soon as that is possible."""
        if writer is not None:
            writer.close()
        self._unfinished.append(row)

    async def seal(self, pack: OpenPack) -> None:
        """Seal a pack whose every record is acknowledged. After a fault it is finished from its rows later."""
        try:
            sealed = await self.pools.disk(pack.writer.seal)
            await self.pools.database(
                lambda: arrivals.seal_pack(pack.row.pack_id, sealed.digest, sealed.size, sealed.records),
                pack.row.tenant_id,
            )
        except (PackDead, DatabaseError) as fault:
            log.warning("a pack could not be sealed yet", pack=str(pack.row.uid)[:8], fault=type(fault).__name__)
            self.give_up(pack.row, pack.writer)

    async def tend(self) -> None:
        """Seal what nobody will come back for, and try again what could not be finished. Called every few seconds."""
        oldest = asyncio.get_running_loop().time() - self.limits.pack_idle_seconds
        idle = {session for session, (pack, _) in self._parked.items() if pack.quiet_since <= oldest}
        for session in idle | await self._gone_elsewhere():
            pack = self.take(session)
            if pack is not None:
                await self.seal(pack)
        waiting, self._unfinished = self._unfinished + await self._written_after_all(), []
        for row in waiting:
            await self._finish(row)

    async def seal_all(self) -> None:
        """Seal everything parked and finish what can be: the gateway stops."""
        parked, self._parked = list(self._parked.values()), {}
        await asyncio.gather(*(self.seal(pack) for pack, _ in parked))
        await self.tend()

    async def _gone_elsewhere(self) -> set[UUID]:
        """The sessions of parked packs that have ended, or that another gateway goes on with."""
        fences = {session: fence for session, (_, fence) in self._parked.items()}
        if not fences:
            return set()
        try:
            return await self.pools.database(lambda: _moved_on(fences))
        except DatabaseError as fault:
            log.warning("parked packs could not be looked up", fault=type(fault).__name__)
            return set()

    async def _written_after_all(self) -> list[UnfinishedPack]:
        """Packs whose row was written although the answer was lost: snapshots of their session would wait for them."""
        if not self._doubtful:
            return []
        try:
            found = await self.pools.database(lambda: _rows_of(self.spool, set(self._doubtful)))
        except DatabaseError as fault:
            log.warning("doubtful packs could not be looked up", fault=type(fault).__name__)
            return []
        settled = {row.uid for row in found}
        oldest = asyncio.get_running_loop().time() - DOUBT_SECONDS
        self._doubtful = {uid: at for uid, at in self._doubtful.items() if uid not in settled and at > oldest}
        return found

    async def _finish(self, row: UnfinishedPack) -> None:
        try:
            await self.pools.database(lambda: finish_pack(self.files, row))
        except (PackDead, OSError, DatabaseError) as fault:
            log.warning("a pack cannot be finished yet", pack=str(row.uid)[:8], fault=type(fault).__name__)
            self._unfinished.append(row)
        except Exception:
            log.exception("a pack cannot be finished; the next start of a gateway tries again", pack=str(row.uid)[:8])


def _rows_of(spool: Spool, uids: set[UUID]) -> list[UnfinishedPack]:
    with without_tenant_scope("a gateway's packs are of every tenant"):
        return [UnfinishedPack.of(row, spool.directory) for row in arrivals.open_packs(spool.name) if row.uid in uids]


def _moved_on(fences: dict[UUID, int]) -> set[UUID]:
    with without_tenant_scope("a gateway parks packs of every tenant"):
        rows = Session.objects.filter(pk__in=fences, state=SessionState.OPEN).values_list("pk", "fence")
        return set(fences) - {session for session, fence in rows if fence == fences[session]}
