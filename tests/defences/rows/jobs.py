"""Jobs: leases, unique due times, ends that come, what counts as an attempt, what a server may ask of a machine."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Sql, Words

AGENT = "tests/jobs/test_agent_jobs.py"
SWEEPING = "tests/jobs/test_agent_sweeping.py"
PEOPLE = "tests/jobs/test_people.py"
ATTEMPTS = "tests/jobs/test_attempts.py"
OWNERS = "tests/jobs/test_owners.py"
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
    defence(
        "job-death-is-no-attempt",
        "jobs",
        "A worker that was killed uses up no attempt of its job.",
        Edit("backup_platform.jobs.sweeping:_again", 'Greatest(F("attempts") - 1, 0)', 'F("attempts")'),
        f"{ATTEMPTS}::test_only_failures_of_the_work_use_up_its_attempts",
    ),
    defence(
        "job-outage-is-no-attempt",
        "jobs",
        "A database that was away uses up no attempt of a job.",
        Edit("backup_platform.jobs.running:_after", "if away is None:", "if True:"),
        f"{ATTEMPTS}::test_what_was_away_is_asked_again_within_half_a_minute",
        f"{ATTEMPTS}::test_what_a_broken_transaction_refuses_is_the_outage_that_broke_it",
    ),
    defence(
        "job-left-is-asked-again",
        "jobs",
        "What the rows say is still to be done is asked for again, though its job failed for good or is gone.",
        Edit("backup_platform.jobs.housekeeping:ask_for_what_is_left", "ask_again()", "0"),
        f"{ATTEMPTS}::test_work_whose_job_failed_for_good_is_asked_for_again_by_its_own_tick",
        f"{ATTEMPTS}::test_the_platform_never_forgets_what_it_has_not_verified",
    ),
    defence(
        "job-flushed-message",
        "jobs",
        "A message that was lost again and again is missed within a quarter of a minute.",
        Edit("backup_platform.jobs.sweeping:_due", "_sent_to(empty) & Q", "Q(pk__in=[]) & Q"),
        "tests/jobs/test_life_of_a_job.py"
        "::test_a_lost_message_is_sent_again_in_a_quarter_minute_however_often_it_is_lost",
    ),
    defence(
        "claims-of-the-dead",
        "jobs",
        "What a process that died had in hand is free at once, where its death can be seen.",
        Edit("backup_platform.jobs.owners:is_gone", "        return True", "        return False"),
        f"{OWNERS}::test_a_job_of_a_process_that_died_is_free_at_the_next_sweep",
        f"{OWNERS}::test_a_pack_that_a_dead_process_held_is_free_at_once",
    ),
    defence(
        "claims-of-others-kept",
        "jobs",
        "Of a process on another machine, or before a restart, nothing is guessed.",
        Edit("backup_platform.jobs.owners:is_gone", "not place or place != _here()", "not place"),
        f"{OWNERS}::test_of_what_is_not_known_here_nothing_is_guessed[place]",
        f"{OWNERS}::test_of_what_is_not_known_here_nothing_is_guessed[machine]",
    ),
    defence(
        "pack-lease-given-back",
        "jobs",
        "A pack's lease is given back also when the database went away under it.",
        Edit("backup_platform.catalog.leases:_give_back", "connection.in_atomic_block or", "True or"),
        "tests/catalog/test_leases.py::test_a_lease_is_given_back_though_the_connection_broke[one]",
    ),
)
