"""Jobs of machines: everything that may be done with one, by theme in the modules named here."""

from __future__ import annotations

from backup_platform.jobs.agent_sweeping import SweptJobs, sweep_agent_jobs
from backup_platform.jobs.asking import Wanted, request_backup, request_backups, request_restore
from backup_platform.jobs.backups_of_jobs import begin_backup, note_snapshot
from backup_platform.jobs.by_hand import finish_by_hand, progress_by_hand, start_by_hand
from backup_platform.jobs.drills import drill_now, request_drill
from backup_platform.jobs.errors import JobRefused
from backup_platform.jobs.lines import add_lines
from backup_platform.jobs.offering import OFFER_LEASE, Offer, next_offers
from backup_platform.jobs.people import (
    cancel,
    pause_machine,
    pause_policy,
    resume_machine,
    resume_policy,
    retry,
    retry_failed,
    run_now,
)
from backup_platform.jobs.running_on_machines import (
    RUN_LEASE,
    accept,
    cancellations,
    decline,
    give_up_lost,
    progress,
    report,
    resume,
)

__all__ = [
    "OFFER_LEASE",
    "RUN_LEASE",
    "JobRefused",
    "Offer",
    "SweptJobs",
    "Wanted",
    "accept",
    "add_lines",
    "begin_backup",
    "cancel",
    "cancellations",
    "decline",
    "drill_now",
    "finish_by_hand",
    "give_up_lost",
    "next_offers",
    "note_snapshot",
    "pause_machine",
    "pause_policy",
    "progress",
    "progress_by_hand",
    "report",
    "request_backup",
    "request_backups",
    "request_drill",
    "request_restore",
    "resume",
    "resume_machine",
    "resume_policy",
    "retry",
    "retry_failed",
    "run_now",
    "start_by_hand",
    "sweep_agent_jobs",
]
