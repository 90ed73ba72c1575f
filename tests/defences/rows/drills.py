"""Drills and what a machine tells: proof is proof, a trial leaves nothing, names stay at home."""

from __future__ import annotations

from tests.defences.defence import defence
from tests.defences.removal import Edit

DRILLING = "tests/end_to_end/test_drilling.py"
DAEMON = "tests/daemon/test_drills.py"
JOBS = "tests/jobs/test_drills.py"
HAND = "backup_platform.jobs.drills_by_hand"
KEY_FILE = "tests/end_to_end/test_enrolling_with_a_key_file.py"

ROWS = (
    defence(
        "proof-without-a-fault",
        "law 2",
        "A snapshot is proven only by a drill that reported no fault.",
        Edit("backup_platform.jobs.drills:note_proof", 'counts.get("faults") == 0', "True"),
        f"{JOBS}::test_only_a_report_without_faults_proves_anything[done-counts1]",
    ),
    defence(
        "proof-of-what-was-asked-for",
        "law 2",
        "A drill's report cannot name another snapshot than the one that was to be tried.",
        Edit("backup_platform.jobs.ending:end_job", " and job.kind == JobKind.BACKUP", ""),
        f"{JOBS}::test_drill_without_a_fault_proves_the_snapshot_that_was_asked_for",
    ),
    defence(
        "proof-by-hand-of-its-own",
        "law 2",
        "A drill by hand is taken for the machine's own snapshot only.",
        Edit(f"{HAND}:_check", "pk=snapshot_id, machine=machine, ", "pk=snapshot_id, "),
        "tests/jobs/test_drills_by_hand.py::test_another_machines_snapshot_is_not_proven",
        "tests/gateway/test_explaining.py::test_drill_of_another_machines_snapshot_is_not_taken_even_with_the_kit",
    ),
    defence(
        "proof-by-hand-of-what-may-be-read",
        "law 5",
        "A write-only machine, which reads nothing back, proves nothing.",
        Edit("backup_platform.gateway.explaining:note", "if caller.machine_id not in scope.readable():", "if False:"),
        "tests/gateway/test_explaining.py::test_write_only_machine_proves_nothing_without_the_kit",
    ),
    defence(
        "drills-by-hand-bounded",
        "law 10",
        "A machine cannot fill the work list and the audit with drills of its own.",
        Edit(f"{HAND}:_check", "if told.count() >= MOST_A_DAY:", "if False:"),
        "tests/jobs/test_drills_by_hand.py::test_machine_cannot_fill_the_list",
    ),
    defence(
        "trial-is-read-back",
        "law 2",
        "What a trial restore has written is read back and compared.",
        Edit("agents.engine.drilling:Drill._read_back", "if size != entry.size or digest != ", "if False and "),
        f"{DRILLING}::test_what_a_restore_has_written_is_read_back",
    ),
    defence(
        "trial-leaves-nothing",
        "law 8",
        "A trial restore leaves no copy of a file behind, however it ends.",
        Edit("agents.scratch:scratch", "finally:\n            _remove(directory)", "finally:\n            pass"),
        f"{DRILLING}::test_scratch_is_gone_after_a_drill_that_was_cut_off",
    ),
    defence(
        "trial-is-bounded",
        "law 10",
        "However much the platform asks for, a drill tries no more than the machine allows.",
        Edit("agents.daemon.job_plan:plan_drill", "min(max(value, 1), most)", "value"),
        f"{DAEMON}::test_sample_of_a_job_is_bounded_by_the_machine",
    ),
    defence(
        "names-stay-at-home",
        "law 6",
        "The name of a file in progress leaves the machine only where the tenant asks for it.",
        Edit("agents.daemon.children:progress_text", "if names and isinstance", "if isinstance"),
        f"{DAEMON}::test_names_leave_only_where_they_were_asked_for",
    ),
    defence(
        "key-file-of-this-vault",
        "law 6",
        "A machine that was given a key file joins that file's vault, or none.",
        Edit("agents.keys.enrollment:secret_of", "if key_file.vault_id != vault_id:", "if False:"),
        f"{KEY_FILE}::test_key_file_of_another_vault_is_refused_and_nothing_stays",
    ),
)  # fmt: skip
