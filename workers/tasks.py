"""The tasks. Each names a job by its id and calls a service: claim, work and ending are in backup_platform.jobs."""

from __future__ import annotations

from django.utils import timezone

from backup_platform.catalog import jobs as catalog
from backup_platform.jobs import housekeeping
from backup_platform.jobs.liveness import beat, beat_of_tier
from backup_platform.jobs.running import run_job
from backup_platform.jobs.ticks import run_alone
from backup_platform.tiering import jobs as tiering
from backup_platform.tiering import ticking
from workers.app import app


@app.task(name="strongroom.verify_pack")
def verify_pack(job_id: str) -> None:
    run_job(job_id, catalog.verify)


@app.task(name="strongroom.deduplicate_pack")
def deduplicate_pack(job_id: str) -> None:
    run_job(job_id, catalog.deduplicate)


@app.task(name="strongroom.complete_snapshot")
def complete_snapshot(job_id: str) -> None:
    run_job(job_id, catalog.complete)


# At a slow line's own pace: who is too slow is cut by the pace (storage/pace.py), not by these. Both end before the
# broker hands the message out again.
LONG = {"soft_time_limit": 1500, "time_limit": 1560}


@app.task(name="strongroom.tier_pack", **LONG)
def tier_pack(job_id: str) -> None:
    run_job(job_id, tiering.tier_pack)


@app.task(name="strongroom.tier_snapshot", **LONG)
def tier_snapshot(job_id: str) -> None:
    run_job(job_id, tiering.tier_snapshot)


@app.task(name="strongroom.tier_target", **LONG)
def tier_target(job_id: str) -> None:
    run_job(job_id, tiering.work_on_target)


@app.task(name="strongroom.tier")
def tier() -> None:
    run_alone("tier", ticking.tick)


@app.task(name="strongroom.tier_watch")
def tier_watch() -> None:
    run_alone("tier-watch", ticking.watch)


@app.task(name="strongroom.sweep")
def sweep() -> None:
    housekeeping.sweep_now()


@app.task(name="strongroom.schedule")
def schedule() -> None:
    from backup_platform.policies.ticking import tick

    run_alone("schedule", lambda: tick(timezone.now()))


@app.task(name="strongroom.replan")
def replan() -> None:
    from backup_platform.policies.repairing import repair

    run_alone("replan", repair)


@app.task(name="strongroom.drills")
def drills() -> None:
    from backup_platform.jobs.due_drills import plan_drills

    run_alone("drills", plan_drills)


@app.task(name="strongroom.expire")
def expire() -> None:
    from backup_platform.retention.running import tick

    run_alone("expire", tick)


@app.task(name="strongroom.expire_tenant")
def expire_tenant(job_id: str) -> None:
    from backup_platform.retention.running import expire_of_tenant

    run_job(job_id, expire_of_tenant)


@app.task(name="strongroom.expire_machine")
def expire_machine(job_id: str) -> None:
    from backup_platform.retention.running import expire_of_machine

    run_job(job_id, expire_of_machine)


@app.task(name="strongroom.write_lifecycle")
def write_lifecycle(job_id: str) -> None:
    from backup_platform.retention.running import write_records

    run_job(job_id, write_records)


@app.task(name="strongroom.deliver")
def deliver() -> None:
    from backup_platform.notifications.delivery import deliver_due

    run_alone("deliver", deliver_due)


@app.task(name="strongroom.daily")
def daily() -> None:
    housekeeping.daily()


@app.task(name="strongroom.ask_again")
def ask_again() -> None:
    run_alone("ask_again", housekeeping.ask_for_what_is_left)


@app.task(name="strongroom.canary")
def canary() -> None:
    beat()


@app.task(name="strongroom.tier_canary")
def tier_canary() -> None:
    beat_of_tier()


@app.task(name="strongroom.reclaim_vault")
def reclaim_vault(job_id: str) -> None:
    from backup_platform.upkeep import jobs as upkeep

    run_job(job_id, upkeep.reclaim)


@app.task(name="strongroom.compact_vault")
def compact_vault(job_id: str) -> None:
    from backup_platform.upkeep import jobs as upkeep

    run_job(job_id, upkeep.compact)


@app.task(name="strongroom.ask_for_reclaim")
def ask_for_reclaim() -> None:
    from backup_platform.upkeep.jobs import ask_due

    run_alone("ask_for_reclaim", ask_due)


@app.task(name="strongroom.scrub")
def scrub() -> None:
    from backup_platform.upkeep.scrub_calendar import tick

    run_alone("scrub", tick)


@app.task(name="strongroom.scrub_one")
def scrub_one(job_id: str) -> None:
    from backup_platform.upkeep import scrub_jobs

    run_job(job_id, scrub_jobs.scrub)


@app.task(name="strongroom.heal_one")
def heal_one(job_id: str) -> None:
    from backup_platform.upkeep import scrub_jobs

    run_job(job_id, scrub_jobs.heal)


@app.task(name="strongroom.make_parity")
def make_parity(job_id: str) -> None:
    from backup_platform.upkeep import scrub_jobs

    run_job(job_id, scrub_jobs.parity)


@app.task(name="strongroom.platform_backup")
def platform_backup() -> None:
    from backup_platform.rebuilding.platform_backup.daily import ask_when_due

    run_alone("platform_backup", ask_when_due)


# By progress, not by the clock: the dump ends itself when nothing more comes (platform_backup.database), and this limit
# is only the last one. Past the visibility time-out the message comes again, and finds the job claimed.
@app.task(name="strongroom.back_up_platform", soft_time_limit=6 * 3600, time_limit=6 * 3600 + 60)
def back_up_platform(job_id: str) -> None:
    from backup_platform.rebuilding.platform_backup import daily as platform_backups

    run_job(job_id, platform_backups.work)


@app.task(name="strongroom.probe_target")
def probe_target(job_id: str) -> None:
    from backup_platform.targets import probing

    run_job(job_id, probing.work)


@app.task(name="strongroom.targets_away")
def targets_away() -> None:
    from backup_platform.targets.watching import look_again

    run_alone("targets_away", look_again)


@app.task(name="strongroom.unfinished_uploads")
def unfinished_uploads() -> None:
    from backup_platform.targets.watching import clear_unfinished

    run_alone("unfinished_uploads", clear_unfinished)
