"""The catalogue's work as jobs: what a job's subject names is looked up, the service is called, the result is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

from backup_platform.catalog.completion import Outcome, complete_snapshot
from backup_platform.catalog.deduplication import deduplicate_pack
from backup_platform.catalog.errors import RecordUnavailable
from backup_platform.catalog.verification import verify_pack
from backup_platform.jobs.models import Job
from backup_platform.jobs.renewing import paced_renewal
from backup_platform.jobs.running import StillWaiting
from backup_platform.storage.base import StoreUnavailable


def verify(job: Job) -> dict[str, Any]:
    """A job `verify pack:<id>`."""
    with _patience():
        report = verify_pack(int(_id_of(job)))
    return {} if report is None else {"fault": report.fault, "bad": len(report.bad)}


def deduplicate(job: Job) -> dict[str, Any]:
    """A job `deduplicate pack:<id>`."""
    with _patience():
        done = deduplicate_pack(int(_id_of(job)))
    return {} if done is None else asdict(done)


def complete(job: Job) -> dict[str, Any]:
    """A job `verify snapshot:<id>`; StillWaiting while packs of the snapshot are on their way."""
    with _patience():
        outcome = complete_snapshot(UUID(_id_of(job)), heartbeat=paced_renewal(job))
    if outcome is Outcome.WAITING:
        raise StillWaiting
    return {"outcome": str(outcome)}


@contextmanager
def _patience() -> Iterator[None]:
    """A disk that is away or full is waited for: five failures are over in three minutes, and the job with them."""
    try:
        yield
    except (RecordUnavailable, StoreUnavailable) as fault:
        raise StillWaiting(str(fault)) from fault


def _id_of(job: Job) -> str:
    return job.subject.partition(":")[2]
