"""Who is connected to this gateway, and what of it has still to be written: many machines in one statement."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from backup_platform.fleet import presence
from backup_platform.gateway.pools import Pools

if TYPE_CHECKING:
    from backup_platform.gateway.session import PeerSession


class Attendance:
    """Connections by machine, and the arrivals, departures and sightings since the last `write`.

    An arrival's `age` is loop time until it is written.
    """

    def __init__(self, pools: Pools, gateway: str) -> None:
        self.gateway = gateway
        self._pools = pools
        self._loop = asyncio.get_running_loop()
        self._sessions: defaultdict[UUID, set[PeerSession]] = defaultdict(set)
        self._arrived: dict[UUID, presence.Arrival] = {}
        self._left: set[UUID] = set()
        self._seen: set[UUID] = set()

    def __contains__(self, machine_id: UUID) -> bool:
        """Whether the machine has any connection here."""
        return machine_id in self._sessions

    def machines(self) -> list[UUID]:
        """All machines that have a connection here."""
        return list(self._sessions)

    def sessions(self, machine_id: UUID) -> list[PeerSession]:
        """A machine's connections."""
        return list(self._sessions.get(machine_id, ()))

    def enter(self, session: PeerSession, machine_id: UUID) -> None:
        """A connection has shown whose it is."""
        self._sessions[machine_id].add(session)
        self._seen.add(machine_id)

    def leave(self, session: PeerSession, machine_id: UUID) -> None:
        """That connection has ended."""
        sessions = self._sessions.get(machine_id, set())
        sessions.discard(session)
        if not sessions:
            self._sessions.pop(machine_id, None)

    def arrive(self, arrival: presence.Arrival) -> None:
        """A machine has a control connection here. Also to say it again, when the database says something else."""
        self._left.discard(arrival.machine_id)
        self._arrived[arrival.machine_id] = arrival

    def depart(self, machine_id: UUID) -> None:
        """It has none any more."""
        self._arrived.pop(machine_id, None)
        self._left.add(machine_id)

    def is_written(self, machine_id: UUID) -> bool:
        """Whether the database has been told of the machine's arrival."""
        return machine_id not in self._arrived

    async def write(self, controlling: Collection[UUID]) -> None:
        """Write what there is to write; what cannot be written now is written next time. Raises database errors.

        `controlling` have a control connection: the gateway's beat speaks for them.
        """
        arrived, left, seen = self._arrived, self._left, self._seen.difference(controlling)
        self._arrived, self._left, self._seen = {}, set(), set()
        if not (arrived or left or seen):
            return
        now = self._loop.time()
        arrivals = [replace(one, age=max(0.0, now - one.age)) for one in arrived.values()]
        try:
            await self._pools.control(partial(_write, self.gateway, arrivals, list(left), list(seen)))
        except Exception:
            self._arrived = {key: one for key, one in arrived.items() if key in controlling} | self._arrived
            self._left |= left.difference(controlling)
            self._seen |= seen
            raise


def _write(gateway: str, arrivals: list[presence.Arrival], left: list[UUID], seen: list[UUID]) -> None:
    presence.note_arrivals(gateway, arrivals)
    presence.note_departures(gateway, left)
    presence.note_seen(seen)
