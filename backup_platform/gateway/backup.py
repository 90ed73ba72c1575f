"""A backup session while a connection holds it: its way to disk, its lease, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from django.db import Error as DatabaseError

from backup_platform.catalog import sessions
from backup_platform.catalog.errors import Fenced
from backup_platform.fleet.errors import MachineRevoked
from backup_platform.gateway import handlers, job_ties
from backup_platform.gateway.arriving import Arriving
from backup_platform.gateway.caller import Caller
from backup_platform.gateway.context import Context
from backup_platform.gateway.faults import refusal_for
from backup_platform.gateway.job_ties import JobTie
from backup_platform.gateway.open_packs import Holder
from backup_platform.gateway.peer import Peer
from backup_platform.tenants.errors import QuotaUsedUp
from protocol.wire import messages

log = structlog.get_logger(__name__)


class Backup:
    """Made by BEGIN, closed by COMMITTED, by the end of the connection, or by a newer connection."""

    def __init__(self, context: Context, peer: Peer, caller: Caller, holder: Holder, tied: JobTie) -> None:
        self.context = context
        self.caller = caller
        self.peer = peer
        self.holder = holder
        self.tied = tied
        self.arriving = Arriving(
            context.packs, holder, context.limits, stored=self._stored, failed=self.fail, freed=peer.freed
        )
        self._committing = False
        self._renewing = asyncio.create_task(self._renew())
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def attach(
        cls, context: Context, peer: Peer, caller: Caller, session: UUID, fence: int, tied: JobTie
    ) -> Backup:
        """Hold the session on this connection; an older connection of this gateway that held it is closed first."""
        older = context.backups.pop(session, None)
        if older is not None:
            older.fail(Fenced())
            await older.close()
        holder = Holder(session, fence, caller.tenant_id, caller.vault_id, caller.machine_id)
        backup = context.backups[session] = cls(context, peer, caller, holder, tied)
        return backup

    @contextmanager
    def being_committed(self) -> Iterator[None]:
        """A commit ends the session under the hands of a renewal; and one that may not looks at the fence itself."""
        self._committing = True
        try:
            yield
        finally:
            self._committing = False

    async def close(self) -> None:
        """Flush what was appended, park the pack, end the lease. Every caller waits for the one end."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.wait([self._closing])

    async def _close(self) -> None:
        self._renewing.cancel()
        await self.arriving.close()
        if self.context.backups.get(self.holder.session) is self:
            del self.context.backups[self.holder.session]
        try:
            await self.context.pools.database(self._leave, self.holder.tenant_id)
        except DatabaseError as fault:
            log.warning("a lease could not be ended early", fault=type(fault).__name__)

    def _leave(self) -> None:
        """End the lease; where the quota ended the backup, the work list says so. On a thread of the pool."""
        sessions.release_session(self.holder.session, self.holder.fence)
        if isinstance(self.arriving.fault, QuotaUsedUp):
            job_ties.refused(self.tied, str(self.arriving.fault))

    async def _renew(self) -> None:
        """Keep the lease while the peer is heard from; its acknowledgements renew it too."""
        heard = self.peer.received_at
        while True:
            await asyncio.sleep(self.context.limits.lease_renewal_seconds)
            if self.peer.received_at == heard and not self.arriving.busy:
                continue
            heard = self.peer.received_at
            try:
                await self.context.pools.database(
                    lambda: handlers.renew(self.caller, self.holder, self.tied, self.peer.bytes_received),
                    self.holder.tenant_id,
                )
            except (Fenced, MachineRevoked) as fault:
                if self._committing and isinstance(fault, Fenced):
                    continue
                self.fail(fault)
                return
            except DatabaseError as fault:
                log.warning("a lease could not be renewed", fault=type(fault).__name__)

    def _stored(self, through: int) -> None:
        self.peer.send(messages.Stored(through=through))

    def fail(self, fault: BaseException) -> None:
        """Tell the peer why nothing more is written, and end its connection."""
        self.peer.fail(refusal_for(fault, session=str(self.holder.session)[:8]))
