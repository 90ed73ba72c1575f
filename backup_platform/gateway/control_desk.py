"""The control desk: knows which machines are connected to this gateway and what each should be told.

The database is the truth. The desk looks into it every few seconds for all machines together, and sooner for those
that somebody named on the wake channel; without Valkey everything still works, some seconds later. What agents say is
collected and written for all of them at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from backup_platform.fleet import access, presence
from backup_platform.fleet.errors import MachineRevoked
from backup_platform.gateway import control_work as work
from backup_platform.gateway.attendance import Attendance
from backup_platform.gateway.caller import Caller
from backup_platform.gateway.control import LATER, MOST_LINES, NOT_NOW, ControlLine, HeldJob
from backup_platform.gateway.errors import Refusal
from backup_platform.gateway.faults import AWAY, refusal_for
from backup_platform.gateway.pools import Pools
from backup_platform.gateway.waking import listen
from backup_platform.jobs import agent_jobs
from backup_platform.jobs.agent_jobs import Offer
from backup_platform.jobs.waking import CHANNEL
from protocol.wire import messages
from protocol.wire.errors import FailureCode, InvalidMessage

if TYPE_CHECKING:
    from backup_platform.gateway.session import PeerSession

log = structlog.get_logger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 5.0
"""How often the database is asked for all machines; a revocation that nobody announced is found within this."""
BREATH_SECONDS = 0.05
"""Wake-ups within this are looked after together."""
WRITE_SECONDS = 2.0
"""How often progress and presence are written, if there is anything to write."""
RENEW_SECONDS = 30.0
"""A job in hand on a living connection has its lease renewed at least this often."""
CONFIGURE_SECONDS = 10.0
MOST_CONFIGURED = 50
"""Configurations made anew in one round: a change that concerns everybody must not hold up everything else."""
BURY_SECONDS = 60.0


class ControlDesk:
    """One gateway's desk. All methods belong to the event loop."""

    def __init__(self, pools: Pools, gateway: str) -> None:
        self.gateway = gateway
        self.lines: dict[UUID, ControlLine] = {}
        self._pools = pools
        self._loop = asyncio.get_running_loop()
        self._attendance = Attendance(pools, gateway)
        self._woken: set[UUID] = set()
        self._woken_all = True
        self._wake = asyncio.Event()

    # --- who is here -------------------------------------------------------------------------------------------------

    def enter(self, session: PeerSession, machine_id: UUID) -> None:
        """A connection has shown whose it is."""
        self._attendance.enter(session, machine_id)

    def leave(self, session: PeerSession, machine_id: UUID) -> None:
        """That connection has ended."""
        self._attendance.leave(session, machine_id)
        line = self.lines.get(machine_id)
        if line is not None and line.session is session:
            del self.lines[machine_id]
            self._attendance.depart(machine_id)

    async def join(
        self, session: PeerSession, caller: Caller, message: messages.Control, offset: float
    ) -> tuple[ControlLine, work.Joined]:
        """Make this the machine's control connection; an older one is ended. `offset`: seconds its clock is ahead."""
        joined = await self._database(lambda: work.join(caller, message.running, self.gateway))
        now = self._loop.time()
        said = (dict(message.facts), message.zone, offset, dict(message.retries))
        line = ControlLine(session, caller, presence.Arrival(caller.machine_id, now, *said))
        line.jobs = {job_id: HeldJob(lease, now) for job_id, lease in joined.goes_on.items()}
        line.configured = joined.configuration.told
        older = self.lines.get(caller.machine_id)
        if older is not None:
            older.end(TAKEN_OVER)
        self.lines[caller.machine_id] = line
        self._attendance.arrive(line.arrival)
        self.wake(caller.machine_id)
        return line, joined

    # --- looking for work --------------------------------------------------------------------------------------------

    def wake(self, machine_id: UUID) -> None:
        """This machine may have something to do."""
        if machine_id in self._attendance:
            self._woken.add(machine_id)
            self._wake.set()

    def wake_all(self) -> None:
        """Something may have been missed."""
        self._woken_all = True
        self._wake.set()

    async def _look_for_ever(self) -> None:
        """Look for everybody every few seconds, and for those who are woken at once."""
        due = self._loop.time()
        while True:
            try:
                # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
                async with asyncio.timeout(max(0.0, due - self._loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                self._woken_all = True
            self._wake.clear()
            woken, everybody = self._woken, self._woken_all
            self._woken, self._woken_all = set(), False
            if everybody:
                due = self._loop.time() + LOOK_SECONDS
            await self.guarded(self._look, self._attendance.machines() if everybody else list(woken))
            await asyncio.sleep(BREATH_SECONDS)

    async def _look(self, machines: list[UUID]) -> None:
        if not machines:
            return
        controlling = [one for one in machines if one in self.lines and self._attendance.is_written(one)]
        free = [one for one in machines if one in self.lines and self.lines[one].is_free(self._loop.time())]
        found = await self._database(partial(work.look, self.gateway, machines, controlling, free))
        for standing in found.standing:
            self._settle(standing)
        for offer in found.offers:
            await self.guarded(self._offer, offer)
        for job_id, _ in found.cancellations:
            self._cancel(job_id)
        if len(found.offers) >= work.MOST_OFFERS:
            self.wake_all()

    def _settle(self, standing: presence.Standing) -> None:
        """The database and we see a machine differently."""
        line = self.lines.get(standing.machine_id)
        if standing.state != "active":
            for session in self._attendance.sessions(standing.machine_id):
                session.end(_refused(session, standing.state))
        elif line is not None and self._is_newer(standing, line):
            line.end(TAKEN_OVER)
        elif line is not None:  # our word came to nothing, or was overwritten by an older one
            self._attendance.arrive(line.arrival)

    def _is_newer(self, standing: presence.Standing, line: ControlLine) -> bool:
        """Whether the machine has opened a control connection at another gateway after ours."""
        elsewhere = standing.connected_to not in ("", self.gateway)
        return elsewhere and standing.connected_ago < self._loop.time() - line.since

    def _cancel(self, job_id: UUID) -> None:
        for line in self.lines.values():
            if job_id in line.jobs:
                line.cancel(job_id)

    # --- offers ------------------------------------------------------------------------------------------------------

    async def _offer(self, offer: Offer) -> None:
        line = self.lines.get(offer.machine_id)
        if line is None or not line.open:
            await self._decline(offer, "The machine went away.", 0.0)
            return
        try:
            line.offer(offer, self._loop.time(), partial(self._answered, line, offer))
        except InvalidMessage as fault:
            log.warning("a job cannot be offered", job=str(offer.job_id), fault=fault.what)
            await self._decline(offer, "What is to be done does not fit into a message: shorten the policy.", LATER)

    async def _answered(self, line: ControlLine, offer: Offer, message: messages.Message) -> None:
        line.offered_at = None
        if isinstance(message, messages.Accepted) and message.accepted:
            await self._accepted(line, offer)
            return
        reason, retry_after = _why_not(message)
        await self._decline(offer, reason, retry_after)

    async def _decline(self, offer: Offer, reason: str, retry_after: float) -> None:
        await self._database(lambda: agent_jobs.decline(offer.job_id, offer.lease, reason, retry_after))

    async def _accepted(self, line: ControlLine, offer: Offer) -> None:
        held = line.jobs[offer.job_id] = HeldJob(offer.lease, self._loop.time(), accepted=False)
        held.accepted = await self._database(lambda: agent_jobs.accept(offer.job_id, offer.lease))
        if held.accepted:
            self.wake(line.machine_id)  # a restore may wait beside a backup
        elif line.jobs.pop(offer.job_id, None):
            line.cancel(offer.job_id)

    # --- what agents say ---------------------------------------------------------------------------------------------

    async def report(self, line: ControlLine, message: messages.Report) -> messages.Reported:
        """Write how a job has ended, before the agent may forget it."""
        held = line.jobs.get(UUID(bytes=message.job))
        lines = held.lines if held is not None and held.lease == message.lease else []
        try:
            await self._database(lambda: work.report(message, lines))
        except ValueError as fault:
            raise Refusal(FailureCode.INVALID, str(fault)) from None
        if held is not None and held.lease == message.lease:
            line.jobs.pop(UUID(bytes=message.job), None)
        self.wake(line.machine_id)
        return messages.Reported()

    async def write_progress(self) -> None:
        """Write what all agents said since the last time, in one statement; it renews the leases of silent ones too."""
        now = self._loop.time()
        due = [
            (line, job_id, held)
            for line in self.lines.values()
            for job_id, held in line.jobs.items()
            if held.state is not None or held.lines or not held.accepted or now - held.renewed_at >= RENEW_SECONDS
        ]
        if not due:
            return
        said = [(job_id, held.lease, held.state or {}, held.lines) for _, job_id, held in due]
        accepted = [(job_id, held.lease) for _, job_id, held in due if not held.accepted]
        for _, _, held in due:
            held.state, held.lines = None, []
        try:
            theirs = await self._database(lambda: work.write_progress(accepted, said))
        except Exception:
            for (_, _, held), (_, _, state, lines) in zip(due, said, strict=True):
                held.state, held.lines = held.state or state, (lines + held.lines)[:MOST_LINES]
            raise
        for line, job_id, held in due:
            held.renewed_at, held.accepted = now, True
            if job_id not in theirs and line.jobs.get(job_id) is held:
                del line.jobs[job_id]
                line.cancel(job_id)

    # --- the house ---------------------------------------------------------------------------------------------------

    async def write_presence(self) -> None:
        """Write who came, left and was seen."""
        await self._attendance.write(self.lines.keys())

    async def configure(self) -> None:
        """Tell machines whose policies have changed; one query finds out for all."""
        lines = [line for line in self.lines.values() if line.open]
        if not lines:
            return
        marks = await self._database(lambda: work.read_marks([line.machine_id for line in lines]))
        changed = [line for line in lines if line.configured.mark != marks.get(line.machine_id, "")]
        for line in changed[:MOST_CONFIGURED]:
            mark = marks.get(line.machine_id, "")
            line.configure(await self._database(partial(work.read_configuration, line.caller, mark)))

    async def work(self, say: Callable[[], presence.Beat]) -> None:
        """Keep the desk until cancelled; `say` tells what the beat carries."""
        await self.guarded(self._database, partial(presence.open_gateway, self.gateway, say()))
        async with asyncio.TaskGroup() as rounds:
            rounds.create_task(listen(settings.REDIS_URL, CHANNEL, self.wake, self.wake_all))
            rounds.create_task(self._look_for_ever())
            rounds.create_task(self._every(WRITE_SECONDS, self.write_progress))
            rounds.create_task(self._every(WRITE_SECONDS, self.write_presence))
            rounds.create_task(self._every(CONFIGURE_SECONDS, self.configure))
            rounds.create_task(self._every(BURY_SECONDS, partial(self._database, presence.bury_dead_gateways)))
            rounds.create_task(self._every(presence.BEAT_SECONDS, partial(self._beat, say)))

    async def _beat(self, say: Callable[[], presence.Beat]) -> None:
        await self._database(partial(presence.beat, self.gateway, say()))

    async def close(self) -> None:
        """The gateway stops, and every connection has ended: say so."""
        await self.guarded(self.write_progress)
        await self.guarded(self._database, partial(presence.close_gateway, self.gateway))

    async def _every(self, seconds: float, call: Callable[[], Any]) -> None:
        """Again and again; a fault of one round is logged, and the next one tries again."""
        while True:
            await asyncio.sleep(seconds)
            await self.guarded(call)

    async def guarded(self, call: Callable[..., Any], *values: object) -> None:
        """Await `call`; a fault is logged, and nothing follows from it: the database says later what is true."""
        try:
            await call(*values)
        except AWAY as fault:
            log.warning("the database is away", fault=type(fault).__name__)
        except Exception:
            log.exception("a round of the control desk failed")

    async def _database(self, call: Callable[[], T]) -> T:
        return await self._pools.control(call)


TAKEN_OVER = Refusal(FailureCode.FENCED, "A newer control connection of this machine took over.", final=True)


def _refused(session: PeerSession, state: str) -> Refusal:
    name = session.caller.name if session.caller else "?"
    return refusal_for(access.REFUSALS.get(state, MachineRevoked)(name))


def _why_not(message: messages.Message) -> tuple[str, float]:
    if isinstance(message, messages.Accepted):
        return message.reason or "The machine cannot do it now.", message.retry_after
    if isinstance(message, messages.Failure):
        return message.message, message.retry_after or NOT_NOW
    return "The machine did not understand the offer.", NOT_NOW
