"""What the control desk asks the database: each function runs on a database thread and is a few statements for all of
its machines together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection

from backup_platform.fleet import access
from backup_platform.fleet.presence import Standing, find_standing
from backup_platform.fleet.renewal import renew_certificate
from backup_platform.gateway.caller import Caller
from backup_platform.jobs import agent_jobs
from backup_platform.policies.configuration import configuration_for
from protocol.wire import messages

MOST_OFFERS = 100
"""Offers of one look; if there were so many, the next look follows at once."""

# The machines are the gateway's own, whose certificates it has checked: that is the statement's tenant condition.
MARKS_SQL = """
    SELECT plan.machine_id, concat_ws('/', count(*), extract(epoch FROM max(plan.computed_at)),
                                      sum(policy.version), count(policy.paused_at))
    FROM policies_plan plan JOIN policies_policy policy ON policy.id = plan.policy_id
    WHERE plan.machine_id = ANY(%(machines)s)
    GROUP BY plan.machine_id
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What is remembered of a configuration: its digest, and the mark under which it was read (see `read_marks`)."""

    digest: bytes
    mark: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """A machine's configuration as JSON."""

    text: str
    told: Told


@dataclass(frozen=True, slots=True)
class Joined:
    """What a daemon that has come is told."""

    stop: list[UUID]
    goes_on: dict[UUID, str]
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be done."""

    offers: list[agent_jobs.Offer] = field(default_factory=list)
    cancellations: list[tuple[UUID, str]] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)


def join(caller: Caller, running: Sequence[messages.RunningJob], gateway: str) -> Joined:
    """A daemon is here and says what it has in hand: which of it goes on, which it should stop, its configuration.

    Raises MachineRevoked.
    """
    access.authenticate(caller.identity_hash)
    goes_on: dict[UUID, str] = {}
    stop: list[UUID] = []
    for one in running:
        job_id = UUID(bytes=one.job)
        if agent_jobs.resume(job_id, one.lease, gateway):
            goes_on[job_id] = one.lease
        else:
            stop.append(job_id)
    agent_jobs.give_up_lost(caller.machine_id, list(goes_on))
    mark = read_marks([caller.machine_id]).get(caller.machine_id, "")
    return Joined(stop, goes_on, read_configuration(caller, mark))


def look(gateway: str, machines: Sequence[UUID], controlling: Sequence[UUID], free: Sequence[UUID]) -> Found:
    """What there is to do for connected machines: `machines` are all of them, `controlling` those with a control
    connection, `free` those that may be offered something."""
    standing = find_standing(gateway, machines, controlling)
    refused = {one.machine_id for one in standing if one.state != "active"}
    return Found(
        offers=agent_jobs.next_offers([one for one in free if one not in refused], gateway, MOST_OFFERS),
        cancellations=agent_jobs.cancellations(controlling) if controlling else [],
        standing=standing,
    )


def read_marks(machines: Sequence[UUID]) -> dict[UUID, str]:
    """For each of these machines a text that changes when one of its policies changes; one query for all."""
    with connection.cursor() as cursor:
        cursor.execute(MARKS_SQL, {"machines": list(machines)})
        return {UUID(str(machine)): mark for machine, mark in cursor.fetchall()}


def read_configuration(caller: Caller, mark: str) -> Configuration:
    """A machine's configuration as it is now. Raises MachineRevoked."""
    text = configuration_for(access.authenticate(caller.identity_hash))
    return Configuration(text, Told(hashlib.sha256(text.encode()).digest(), mark))


def renew(caller: Caller, csr: bytes) -> messages.Renewed:
    """A new certificate over the caller's key. Raises CsrRefused, MachineRevoked."""
    certificate, ca = renew_certificate(access.authenticate(caller.identity_hash), csr)
    return messages.Renewed(certificate=certificate, ca=ca)


def report(message: messages.Report, lines: Sequence[dict[str, str]]) -> bool:
    """Write how a job has ended, after what its log still lacks. Raises ValueError for an outcome that is unknown."""
    job_id = UUID(bytes=message.job)
    if lines:
        agent_jobs.add_lines(job_id, message.lease, list(lines))
    return agent_jobs.report(
        job_id,
        message.lease,
        message.outcome,
        message=message.message,
        advice=message.advice,
        snapshot=UUID(bytes=message.snapshot) if message.snapshot else None,
        counts=dict(message.counts),
    )


def write_progress(
    accepted: Iterable[tuple[UUID, str]], said: Sequence[tuple[UUID, str, dict[str, Any], list[dict[str, str]]]]
) -> set[UUID]:
    """Write how far the jobs of all connections are, in one statement; those that are still their machines'.

    `said` are jobs, leases, states and log lines; `accepted` those whose acceptance could not be written before.
    """
    for job_id, lease in accepted:
        agent_jobs.accept(job_id, lease)
    for job_id, lease, _, lines in said:
        if lines:
            agent_jobs.add_lines(job_id, lease, lines)
    return agent_jobs.progress([(job_id, lease, state) for job_id, lease, state, _ in said])


def parsed(state: str) -> dict[str, Any]:
    """An agent's progress; what cannot be read only says that the agent is there."""
    try:
        said = json.loads(state) if state else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
