"""The fleet at work for months: what nobody does fails, what goes on stays one job, and commits hold up no control."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit, Words

AGENT = "tests/jobs/test_agent_jobs.py"
SWEEPING = "tests/jobs/test_agent_sweeping.py"
JOBS = "backup_platform.jobs"

ROWS = (
    defence(
        "job-declined-for-ever-fails",
        "jobs",
        "What its machine has declined for three days fails, with what it says.",
        Edit(f"{JOBS}.running_on_machines:decline", "_give_up_declined(job_id, lease, reason) or ", ""),
        f"{AGENT}::test_what_a_machine_declines_for_three_days_fails_with_what_it_says",
    ),
    defence(
        "job-unanswered-for-ever-fails",
        "jobs",
        "So does what it was offered for three days and never answered.",
        Edit(
            f"{JOBS}.agent_sweeping:_free_offers",
            "Q(declined_since=None) | Q(declined_since__gt=now - MOST_DECLINED)",
            "Q()",
        ),
        f"{SWEEPING}::test_a_job_that_is_offered_for_three_days_and_never_answered_fails_with_advice",
    ),
    defence(
        "by-hand-goes-on-as-one-job",
        "jobs",
        "A backup by hand whose machine comes back minutes later goes on as the same job.",
        (
            Edit(f"{JOBS}.agent_sweeping:sweep_agent_jobs", " + _keep_by_hand(now)", ""),
            Edit(f"{JOBS}.agent_sweeping:_fail_lost", ".exclude(BEGUN_BY_HAND)", ""),
        ),
        f"{AGENT}::test_a_backup_by_hand_whose_machine_was_away_for_minutes_is_still_one_job",
    ),
    defence(
        "by-hand-ends",
        "jobs",
        "One that does not come back fails after a quarter of an hour.",
        Edit(f"{JOBS}.agent_sweeping:sweep_agent_jobs", " + _fail_by_hand(now)", ""),
        f"{SWEEPING}::test_a_backup_by_hand_that_its_machine_does_not_go_on_with_fails_with_advice",
    ),
    defence(
        "by-hand-is-offered-to-nobody",
        "jobs",
        "What a machine began by itself is never offered to its daemon.",
        Words(f"{JOBS}.offering:WAITING_SQL", "AND job.origin <> 'machine'", ""),
        f"{SWEEPING}::test_a_backup_by_hand_that_waits_is_offered_to_nobody",
    ),
    defence(
        "deleted-policy-runs-no-more",
        "jobs",
        "What waits of a policy that is deleted does not run.",
        Edit("backup_platform.policies.services:delete_policy", "withdraw_of_policy(row, actor)", "0"),
        "tests/jobs/test_people.py::test_what_waits_of_a_deleted_policy_is_cancelled_and_what_runs_goes_on",
    ),
    defence(
        "control-waits-for-no-commit",
        "law 10",
        "Jobs are offered and leases renewed while every other thread of the database is in a commit.",
        Edit("backup_platform.gateway.pools:Pools.control", "self._control, ", "self._database, "),
        "tests/gateway/test_fairness.py::test_jobs_are_offered_while_every_thread_of_the_database_is_in_a_commit",
    ),
    defence(
        "announced-at-home-only",
        "secrecy",
        "A gateway announces itself by itself on private addresses only.",
        Edit(
            "backup_platform.gateway.announcing:addresses_to_announce",
            "[one for one in here if _is_of_a_local_network(one)]",
            "here",
        ),
        "tests/end_to_end/test_discovery.py"
        "::test_a_gateway_announces_itself_on_private_addresses_only_unless_told[8.8.8.8-auto-announced4]",
    ),
)
