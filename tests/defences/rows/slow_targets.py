"""Targets that are slow and never fail: nobody else waits for them, and every wait for them has an end."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

TURNS = "backup_platform.jobs.turns"
PACE = "backup_platform.storage.pace"
PATIENCE = "backup_platform.tiering.patience"
TURN = "tests/jobs/test_turns.py"
SLOW = "tests/tiering/test_slow_targets.py"
SILENT = "tests/platform/test_silent_workers.py"

ROWS = (
    defence(
        "turns-of-owners",
        "jobs",
        "No owner, no target and no sort of work holds all processes that wait for targets.",
        Edit(f"{TURNS}:in_turn", "yield held_now().has_room(lane)", "yield True"),
        f"{TURN}::test_a_second_pack_of_an_owner_waits_without_a_trace_and_the_others_go_on",
        f"{TURN}::test_a_shared_target_is_given_one_pack_at_a_time_whoever_owns_them",
        f"{TURN}::test_packs_of_many_owners_leave_a_process_to_everything_else",
    ),
    defence(
        "turns-one-claim-at-a-time",
        "jobs",
        "Many claims at the same moment do not all find the last place free.",
        Edit(f"{TURNS}:in_turn", "_lock()", "pass"),
        f"{TURN}::test_of_many_claims_at_the_same_moment_one_gets_the_place",
    ),
    defence(
        "turns-passed-on",
        "jobs",
        "Who ends a job wakes the next one, of each owner.",
        Edit("backup_platform.jobs.running:run_job", "pass_on(job)", "pass"),
        f"{TURN}::test_who_ends_sends_the_next_of_each_owner_and_nobody_twice",
        f"{TURN}::test_a_job_that_waits_for_something_lets_the_next_begin",
    ),
    defence(
        "turns-in-the-sweep",
        "jobs",
        "A thousand jobs whose turn it is not keep nobody else's out of the sweep.",
        Edit("backup_platform.jobs.sweeping:_due", "due = due.exclude(_sent_to({turns.QUEUE}))", "pass"),
        f"{TURN}::test_a_thousand_jobs_of_one_owner_keep_nobody_out_of_the_sweep",
    ),
    defence(
        "pace-ends-what-trickles",
        "law 10",
        "A target that trickles is cut off, and not by the worker's own limit.",
        Edit(f"{PACE}:Pace.go_on", "if self._stopped or self.is_over:", "if False:"),
        f"{SLOW}::test_a_trickling_upload_is_cut_is_the_targets_trouble_and_succeeds_on_a_better_line",
        f"{SLOW}::test_reading_back_is_held_to_the_same_pace",
    ),
    defence(
        "parts-of-the-killed",
        "law 10",
        "Parts that a killed worker left in a bucket go with the next attempt.",
        Edit("backup_platform.tiering.copying:_forget_parts", "store.forget_parts(key)", "pass"),
        f"{SLOW}::test_parts_that_a_killed_worker_left_are_removed_by_the_next_attempt",
    ),
    defence(
        "pace-keeps-the-claim",
        "jobs",
        "A worker that sends one part for minutes is not taken for dead.",
        Edit(f"{PACE}:Pace.go_on", "self._beat(min(self._moved, self.size))", "pass"),
        f"{SLOW}::test_a_claim_is_kept_while_one_part_is_on_its_way",
    ),
    defence(
        "slow-lines-get-there",
        "jobs",
        "What took long to send is read back in another turn, and never sent twice.",
        Edit("backup_platform.tiering.copying:copy_to", "> LONG_TURN.total_seconds():", "> 10**9:"),
        f"{SLOW}::test_a_slow_line_above_the_least_rate_gets_there_in_two_turns",
    ),
    defence(
        "slow-is-told-at-once",
        "law 10",
        "A target that was too slow for a pack is told to people the first time.",
        Edit(f"{PATIENCE}:note_failure", "if slow or row.failures >= AWAY_AFTER:", "if row.failures >= AWAY_AFTER:"),
        f"{SLOW}::test_a_trickling_upload_is_cut_is_the_targets_trouble_and_succeeds_on_a_better_line",
    ),
    defence(
        "slow-stays-slow",
        "law 10",
        "That small things go well does not call back a target that is too slow for packs.",
        (
            Edit(f"{PATIENCE}:note_success", "if not whole_pack and is_slow(target):", "if False:"),
            Edit("backup_platform.targets.watching:look_again", " and not is_slow(one)", ""),
        ),
        f"{SLOW}::test_that_small_things_go_well_does_not_call_a_slow_target_back",
    ),
    defence(
        "busy-is-not-silent",
        "jobs",
        "A tier worker whose processes are busy for long is not ended, and one that is deaf is.",
        Edit("backup_platform.embedded.readiness:tier_worker_silent", "KINDS, QUEUE]", "[], QUEUE]"),
        f"{SILENT}::test_a_tier_worker_whose_processes_are_busy_for_long_is_not_ended",
    ),
)
