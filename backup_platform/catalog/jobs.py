"""The catalogue's work as jobs: what a job's subject names is looked up, the service is called, the result is kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from backup_platform.catalog.completion import Outcome, complete_snapshot
from backup_platform.catalog.deduplication import deduplicate_pack
from backup_platform.catalog.verification import verify_pack
from backup_platform.jobs.models import Job
from backup_platform.jobs.running import StillWaiting
from backup_platform.jobs.services import renew


def verify(job: Job) -> dict[str, Any]:
    """A job `verify pack:<id>`."""
    report = verify_pack(int(_id_of(job)))
    return {} if report is None else {"fault": report.fault, "bad": len(report.bad)}


def deduplicate(job: Job) -> dict[str, Any]:
    """A job `deduplicate pack:<id>`."""
    done = deduplicate_pack(int(_id_of(job)))
    return {} if done is None else asdict(done)


def complete(job: Job) -> dict[str, Any]:
    """A job `verify snapshot:<id>`; StillWaiting while packs of the snapshot are on their way."""
    outcome = complete_snapshot(UUID(_id_of(job)), heartbeat=lambda: renew(job))
    if outcome is Outcome.WAITING:
        raise StillWaiting
    return {"outcome": str(outcome)}


def _id_of(job: Job) -> str:
    return job.subject.partition(":")[2]
