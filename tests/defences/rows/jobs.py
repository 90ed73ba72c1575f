"""Machines' jobs: leases, unique due times, ends that come, and what a server may ask of a machine."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Sql, Words

AGENT = "tests/jobs/test_agent_jobs.py"
SWEEPING = "tests/jobs/test_agent_sweeping.py"
PEOPLE = "tests/jobs/test_people.py"
HEARING = "backup_platform.jobs.running_on_machines"
ASKING = "backup_platform.jobs.asking"
UNFINISHED = "('queued', 'offered', 'running', 'cancelling')"

ROWS = (
    defence(
        "job-steps-guarded",
        "jobs",
        "A job's step is taken from its own states only, and once.",
        Edit("backup_platform.jobs.states:take", ".filter(state__in=move.before)", ""),
        "tests/jobs/test_states.py::test_a_step_is_taken_from_its_own_states_only_and_once[accept]",
    ),
    defence(
        "job-lease-guards",
        "jobs",
        "What an old lease says of a machine's job changes nothing.",
        Edit(f"{HEARING}:_leased", "return jobs.filter(lease_owner=lease)", "return jobs"),
        f"{AGENT}::test_what_an_old_lease_says_changes_nothing",
    ),
    defence(
        "job-lease-guards-progress",
        "jobs",
        "Nor does its progress.",
        Words(f"{HEARING}:PROGRESS_SQL", "AND job.lease_owner = said.lease", ""),
        f"{AGENT}::test_what_an_old_lease_says_changes_nothing",
    ),
    defence(
        "job-due-time-once",
        "jobs",
        "A due time of a policy on a machine makes one job, whoever asks and how often.",
        Sql(
            "jobs migration 0002:one_job_per_due_time",
            "ALTER TABLE jobs_job DROP CONSTRAINT one_job_per_due_time",
            "ALTER TABLE jobs_job ADD CONSTRAINT one_job_per_due_time UNIQUE (policy_id, machine_id, due_at)",
        ),
        f"{AGENT}::test_a_due_time_is_asked_for_once_even_after_its_job_has_ended",
    ),
    defence(
        "job-one-unfinished",
        "jobs",
        "A policy has one unfinished job on a machine.",
        Sql(
            "jobs migration 0002:one_unfinished_job",
            "DROP INDEX one_unfinished_job",
            f"CREATE UNIQUE INDEX one_unfinished_job ON jobs_job (dedupe_key) WHERE state IN {UNFINISHED}",
        ),
        f"{AGENT}::test_a_policy_has_one_unfinished_job_on_a_machine",
    ),
    defence(
        "job-never-running-for-ever",
        "jobs",
        "A running job that nobody renews is queued again or fails within two minutes.",
        Edit("backup_platform.jobs.agent_sweeping:sweep_agent_jobs", "_free_offers(now) + _free_lost(now)", "0"),
        f"{SWEEPING}::test_nothing_stays_running_when_nobody_renews_it",
    ),
    defence(
        "job-progress-without-names",
        "secrecy",
        "A file's name in a job's progress is kept only where the tenant opted in.",
        Words(f"{HEARING}:PROGRESS_SQL", "ELSE said.state - 'file' END", "ELSE said.state END"),
        f"{AGENT}::test_a_files_name_is_kept_only_where_the_tenant_opted_in",
    ),
    defence(
        "restore-of-own-tenant",
        "law 5",
        "A restore is asked for a snapshot of the machine's own only; another tenant's looks like missing.",
        Edit(f"{ASKING}:_check_restorable", "if owner[0] != machine.pk:", "if False:"),
        f"{PEOPLE}::test_a_restore_of_anybody_elses_snapshot_is_refused",
    ),
    defence(
        "restore-names-a-folder",
        "law 8",
        "The server names a restore folder of the machine's own configuration, and never a path.",
        Edit(f"{ASKING}:clean_folder", "if into and not FOLDER.fullmatch(into):", "if False:"),
        f"{PEOPLE}::test_a_restore_names_a_folder_and_never_a_path[/etc]",
        f"{PEOPLE}::test_a_restore_names_a_folder_and_never_a_path[../x]",
    ),
)
