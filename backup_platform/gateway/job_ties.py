"""What a backup's connection has to do with the work list.

A backup that a daemon's job started names the job: its snapshot is noted there at commit, and the daemon reports the
rest. One that somebody began by hand gets a job of its own, which lives and ends with the backup.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from backup_platform.fleet.models import Machine
from backup_platform.gateway.errors import Refusal
from backup_platform.jobs import agent_jobs
from protocol.wire import messages
from protocol.wire.errors import FailureCode

STOPPED = "The backup ended on the machine without a snapshot: it was interrupted there, or it failed."
GO_ON = "See what it said there. The next backup goes on where this one stopped."


@dataclass(frozen=True, slots=True)
class JobTie:
    """The job of a backup session. `by_hand`: nobody but this connection will say how it ends."""

    job_id: UUID
    machine_id: UUID
    by_hand: bool


def check(machine: Machine, message: messages.Begin) -> None:
    """Refuse a backup whose job is not the machine's any more; before its session is opened."""
    if message.job and not agent_jobs.begin_backup(UUID(bytes=message.job), machine.pk):
        raise Refusal(FailureCode.NOT_FOUND, "This job is not this machine's (any more); its backup may not begin.")


def tie(machine: Machine, message: messages.Begin) -> JobTie:
    """The job of a session that has just been opened; for one begun by hand it is made now."""
    if message.job:
        return JobTie(UUID(bytes=message.job), machine.pk, by_hand=False)
    return JobTie(agent_jobs.start_by_hand(machine, policy_name=message.policy), machine.pk, by_hand=True)


def keep(tied: JobTie, received: int) -> None:
    """The backup is getting on: `received` bytes have come over this connection."""
    if tied.by_hand:
        agent_jobs.progress_by_hand([(tied.job_id, {"phase": "saving", "bytes_done": received})])


def committed(tied: JobTie, snapshot: UUID, statistics: messages.Statistics) -> None:
    """The backup is published."""
    if not tied.by_hand:
        agent_jobs.note_snapshot(tied.job_id, tied.machine_id, snapshot)
        return
    outcome, message, advice = "done", "", ""
    if statistics.errors:
        outcome, message = "warnings", f"{statistics.errors:,} of the sources could not be read."
        advice = "The agent said on the machine which; the rest is saved."
    counts = {name: int(getattr(statistics, name)) for name in statistics.__struct_fields__}
    agent_jobs.finish_by_hand(tied.job_id, outcome, message=message, advice=advice, snapshot=snapshot, counts=counts)


def refused(tied: JobTie, why: str) -> None:
    """Nothing more of the backup is taken. Of a daemon's job its agent reports the same words."""
    if tied.by_hand:
        agent_jobs.finish_by_hand(tied.job_id, "failed", message=why, advice=GO_ON)


def stopped(tied: JobTie) -> None:
    """The agent said goodbye without a commit. A connection that broke says nothing: the next one may go on.

    Interrupted and failed look alike from here; failed is what somebody must hear of.
    """
    if tied.by_hand:
        agent_jobs.finish_by_hand(tied.job_id, "failed", message=STOPPED, advice=GO_ON)
